#!/usr/bin/env bash
# Builds the CUDA binary on a machine without a GPU, with a compiler and libraries from PyPI.
#
#     benches/cuda_build.sh [FOLDER]
#
# FOLDER (by default in the user's cache) takes the toolkit, 1.5 GB. The binary is for compute
# capability 9.0 (H100, H200) unless CUDA_COMPUTE_CAP says otherwise; it needs libcuda, libcudart,
# libcublas, libcublasLt, libcurand and libnvrtc of CUDA 13 where it runs.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=${1:-${XDG_CACHE_HOME:-$HOME/.cache}/polyphony/cuda}
toolkit=$folder/nvidia/cu13
if [ ! -f "$folder/complete" ]; then
    rm -rf "$folder"
    python3 -m pip install --quiet --no-deps --target "$folder" \
        nvidia-cuda-nvcc==13.0.88 nvidia-cuda-runtime==13.0.96 nvidia-cuda-cccl==13.0.85 \
        nvidia-cublas==13.0.2.14 nvidia-curand==10.4.0.35 nvidia-nvvm==13.0.88 \
        nvidia-cuda-crt==13.0.88 nvidia-cuda-nvrtc==13.0.88
    ln -sfn lib "$toolkit/lib64"
    for library in libcudart.so.13 libcublas.so.13 libcublasLt.so.13 libcurand.so.10 libnvrtc.so.13; do
        ln -sf "$library" "$toolkit/lib/${library%%.so*}.so"
    done
    touch "$folder/complete"
fi
# The driver's library comes with a driver; the linker is content with its names.
cargo fetch --locked --quiet
stubs=$toolkit/lib/stubs
mkdir -p "$stubs"
names=$(grep -rhoE '\bfn cu[A-Z][A-Za-z0-9_]*' "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*/cudarc-*/src/driver/sys* | awk '{print $2}' | sort -u)
for name in $names; do printf 'int %s(void) { return 999; }\n' "$name"; done |
    gcc -x c -shared -fPIC -w -o "$stubs/libcuda.so" -Wl,-soname,libcuda.so.1 -
export CUDA_HOME=$toolkit CUDA_PATH=$toolkit PATH=$toolkit/bin:$PATH NVCC_CCBIN=${NVCC_CCBIN:-/usr/bin/g++}
export CUDA_COMPUTE_CAP=${CUDA_COMPUTE_CAP:-90} CUDARC_CUDA_VERSION=13000
# By the linker's own variable: other flags for rustc would build all that is not CUDA's once more.
export LIBRARY_PATH=$toolkit/lib:$stubs${LIBRARY_PATH:+:$LIBRARY_PATH}
cargo build --release --locked --features cuda
# Wherever cargo puts what it builds.
target=$(cargo metadata --no-deps --format-version 1 --locked | grep -o '"target_directory":"[^"]*"' | cut -d '"' -f 4)
# The next plain build takes the name back.
mkdir -p "$target/cuda"
cp "$target/release/polyphony" "$target/cuda/polyphony"
printf '%s\n' "$target/cuda/polyphony"
