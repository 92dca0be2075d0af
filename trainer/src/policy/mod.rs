//! Policy: the decoder that is fine-tuned, frozen except for its LoRA adapters (and a reward head), with its
//! log-probabilities, scores and gradients.

pub mod backward;
mod gradients;
mod lora;

use candle_core::{DType, Result as CandleResult, Tensor};
use polyphony_io::random::SplitMix64;
use polyphony_io::{Error, Result};
use polyphony_model::decoder::packed::PackedSequences;
use polyphony_model::decoder::{Decoder, Head, PROJECTIONS};
use polyphony_model::device::DeviceSpec;
use polyphony_model::files::ModelFiles;
use polyphony_model::lora::names::{SCORE_HEAD, factor_names, module_path};
use polyphony_model::lora::{Adapter, LoraConfig, LoraFactors};
use polyphony_model::ops::linear::matmul_t;
use polyphony_model::ops::norm::rms_norm;

use self::backward::InputGradient;
use self::backward::head::{LmHead, TokenStats};
use crate::data::batch::Batch;

pub use self::gradients::Gradients;
pub use self::lora::{LoraLinear, TrainableLora};

/// A frozen decoder with trainable LoRA adapters.
#[derive(Debug)]
pub struct Policy {
    /// The decoder.
    pub decoder: Decoder<LoraLinear>,
    /// The configuration of the adapters.
    pub lora_config: LoraConfig,
    /// Whether the head is trained, too, as for a reward model.
    trains_head: bool,
}

/// The adapters that [`Policy::detach_lora`] removed, one entry for each projection.
#[derive(Debug)]
pub struct DetachedLora(Vec<Option<TrainableLora>>);

impl Policy {
    /// Loads a model without adapters.
    ///
    /// # Errors
    /// When a file is missing or invalid.
    pub fn load(files: &ModelFiles, head: Head, device: DeviceSpec) -> Result<Self> {
        let frozen = |_: &str, weight: Tensor| Ok(LoraLinear { weight, lora: None });
        let mut decoder = Decoder::load(files, head, device.dtype(), &device.open()?, frozen)?;
        let trains_head = head == Head::Score;
        if trains_head {
            // Parameters are f32, as their gradients and the optimizer's moments are.
            decoder.head = decoder.head.to_dtype(DType::F32)?;
        }
        Ok(Self {
            decoder,
            lora_config: LoraConfig::default(),
            trains_head,
        })
    }

    /// Adds new adapters: A uniform in `±1/sqrt(in)` (PEFT: `kaiming_uniform_(a=sqrt(5))`), B zero.
    ///
    /// # Errors
    /// When a target module is no projection of the model.
    pub fn init_lora(&mut self, lora_config: &LoraConfig, seed: u64) -> Result<()> {
        if let Some(unknown) = lora_config.unknown_target() {
            return Err(unknown_target(unknown));
        }
        let mut random = SplitMix64::seed_from_u64(seed);
        let device = self.decoder.device.clone();
        let (r, scale) = (lora_config.r, lora_config.scale());
        self.insert_lora(lora_config, |_, (out, into)| {
            let bound = 1.0 / (into as f64).sqrt();
            let values: Vec<f32> = (0..r * into)
                .map(|_| ((2.0 * random.next_f64() - 1.0) * bound) as f32)
                .collect();
            Ok(Some(LoraFactors {
                a: Tensor::from_vec(values, (r, into), &device)?,
                b: Tensor::zeros((out, r), DType::F32, &device)?,
                scale,
            }))
        })
    }

    /// Adds the adapters of a PEFT folder, and its reward head if the head is trained.
    ///
    /// # Errors
    /// When the adapters belong to another base model; the message names the shapes.
    pub fn load_adapter(&mut self, adapter: &Adapter) -> Result<()> {
        let device = self.decoder.device.clone();
        self.insert_lora(&adapter.config, |path, shape| {
            adapter.factors(path, shape, &device)
        })?;
        let head = if self.trains_head {
            Head::Score
        } else {
            Head::Lm
        };
        adapter.refuse_unused(self.decoder.layers.len(), head)?;
        if self.trains_head {
            self.decoder.head = adapter.score_head(self.decoder.config.hidden_size, &device)?;
        }
        Ok(())
    }

    /// Inserts the factors that `make` returns for a module path and its weight's shape (out, in).
    fn insert_lora(
        &mut self,
        lora_config: &LoraConfig,
        mut make: impl FnMut(&str, (usize, usize)) -> Result<Option<LoraFactors>>,
    ) -> Result<()> {
        let mut index = 0;
        for (number, layer) in self.decoder.layers.iter_mut().enumerate() {
            for (projection, name) in layer.projections.iter_mut().zip(PROJECTIONS) {
                projection.lora = None;
                if !lora_config.targets(name) {
                    continue;
                }
                let factors = make(&module_path(number, name), projection.weight.dims2()?)?;
                projection.lora = factors.map(|factors| TrainableLora { factors, index });
                index += 2;
            }
        }
        if index == 0 {
            return Err(unknown_target(&lora_config.target_modules.join(", ")));
        }
        self.lora_config = lora_config.clone();
        Ok(())
    }

    /// PEFT's names of the trainable parameters. Their order is that of all lists of parameters.
    pub fn parameter_names(&self) -> Vec<String> {
        let mut names = Vec::new();
        for (number, layer) in self.decoder.layers.iter().enumerate() {
            for (projection, name) in layer.projections.iter().zip(PROJECTIONS) {
                if projection.lora.is_some() {
                    names.extend(factor_names(&module_path(number, name)));
                }
            }
        }
        if self.trains_head {
            names.push(SCORE_HEAD.to_owned());
        }
        names
    }

    /// The trainable parameters, in the order of [`Self::parameter_names`].
    pub fn parameters(&self) -> Vec<Tensor> {
        let layers = self.decoder.layers.iter();
        let loras =
            layers.flat_map(|layer| layer.projections.iter().filter_map(|p| p.lora.as_ref()));
        let factors = loras.flat_map(|lora| [lora.factors.a.clone(), lora.factors.b.clone()]);
        let head = self.trains_head.then(|| self.decoder.head.clone());
        factors.chain(head).collect()
    }

    /// Sets the trainable parameters, in the order of [`Self::parameter_names`].
    pub fn set_parameters(&mut self, values: Vec<Tensor>) {
        let mut values = values.into_iter();
        for layer in &mut self.decoder.layers {
            let loras = layer.projections.iter_mut().filter_map(|p| p.lora.as_mut());
            for lora in loras {
                if let (Some(a), Some(b)) = (values.next(), values.next()) {
                    (lora.factors.a, lora.factors.b) = (a, b);
                }
            }
        }
        if let Some(head) = values.next().filter(|_| self.trains_head) {
            self.decoder.head = head;
        }
    }

    /// Removes the adapters until [`Self::attach_lora`]. The model without them is the reference model of DPO.
    pub fn detach_lora(&mut self) -> DetachedLora {
        let layers = self.decoder.layers.iter_mut();
        DetachedLora(
            layers
                .flat_map(|layer| layer.projections.iter_mut().map(|p| p.lora.take()))
                .collect(),
        )
    }

    /// Restores the adapters that [`Self::detach_lora`] removed.
    pub fn attach_lora(&mut self, loras: DetachedLora) {
        let mut loras = loras.0.into_iter();
        for layer in &mut self.decoder.layers {
            for projection in &mut layer.projections {
                projection.lora = loras.next().flatten();
            }
        }
    }

    /// Merges the adapters into the weights and removes them.
    ///
    /// # Errors
    /// When the device fails.
    pub fn merge_lora(&mut self) -> CandleResult<()> {
        for layer in &mut self.decoder.layers {
            for projection in &mut layer.projections {
                projection.weight = projection.merged()?;
                projection.lora = None;
            }
        }
        Ok(())
    }

    /// The LM head, with the model's soft cap.
    fn lm_head(&self) -> CandleResult<LmHead<'_>> {
        let softcap = self.decoder.config.final_logit_softcap;
        LmHead::new(&self.decoder.head, softcap)
    }

    /// The RoPE angles and masks of the batch's sequences.
    fn pack(&self, batch: &Batch) -> CandleResult<PackedSequences> {
        PackedSequences::new(&batch.lengths, &self.decoder.config, &self.decoder.device)
    }

    /// The hidden states after the last norm at these rows of the batch, shape (rows, H).
    fn hidden_at(&self, batch: &Batch, rows: &[u32]) -> CandleResult<Tensor> {
        let hidden = self.decoder.forward(&batch.ids, &self.pack(batch)?)?;
        hidden.index_select(&Tensor::new(rows, hidden.device())?, 0)
    }

    /// The log-probability of each target token.
    ///
    /// # Errors
    /// When the device fails, for example out of memory.
    pub fn logps(&self, batch: &Batch) -> CandleResult<Vec<f32>> {
        let hidden = self.hidden_at(batch, &batch.rows)?;
        self.lm_head()?.logps(&hidden, &batch.targets)
    }

    /// Statistics of the predicted distribution at each target token.
    ///
    /// # Errors
    /// When the device fails, for example out of memory.
    pub fn token_stats(&self, batch: &Batch) -> CandleResult<TokenStats> {
        let hidden = self.hidden_at(batch, &batch.rows)?;
        self.lm_head()?.token_stats(&hidden, &batch.targets)
    }

    /// The reward of each text: the head's output at its last token.
    ///
    /// # Errors
    /// When the device fails, for example out of memory.
    pub fn scores(&self, batch: &Batch) -> CandleResult<Vec<f32>> {
        self.scores_of(&self.hidden_at(batch, &PackedSequences::last_rows(&batch.lengths))?)
    }

    /// Forward and backward pass of a micro-batch. `loss` gets the statistics of the targets and returns the
    /// derivatives of the loss by their log-probabilities; the parameters' gradients are added to `gradients`.
    /// With gradient checkpointing, layers store only their inputs.
    ///
    /// # Errors
    /// When the device fails, for example out of memory.
    pub fn forward_backward(
        &self,
        batch: &Batch,
        gradients: &mut Gradients,
        gradient_checkpointing: bool,
        loss: impl FnOnce(&TokenStats) -> Vec<f32>,
    ) -> CandleResult<()> {
        let pass = self.forward(batch, gradient_checkpointing)?;
        let rows = Tensor::new(batch.rows.as_slice(), pass.hidden.device())?;
        let hidden = pass.hidden.index_select(&rows, 0)?;
        let head = self.lm_head()?;
        let token_stats = head.token_stats(&hidden, &batch.targets)?;
        let d_rows = head.backward(&hidden, &batch.targets, &loss(&token_stats))?;
        let d_hidden = pass.hidden.zeros_like()?.index_add(&rows, &d_rows, 0)?;
        self.backward(pass, &d_hidden, gradients)
    }

    /// Forward and backward pass of a reward model. `loss` gets the scores and returns the derivatives of the
    /// loss by them; the parameters' gradients are added to `gradients`. Returns the scores.
    ///
    /// # Errors
    /// When the device fails, for example out of memory.
    pub fn forward_backward_scores(
        &self,
        batch: &Batch,
        gradients: &mut Gradients,
        gradient_checkpointing: bool,
        loss: impl FnOnce(&[f32]) -> Vec<f32>,
    ) -> CandleResult<Vec<f32>> {
        let pass = self.forward(batch, gradient_checkpointing)?;
        let last_rows = PackedSequences::last_rows(&batch.lengths);
        let rows = Tensor::new(last_rows.as_slice(), pass.hidden.device())?;
        let hidden = pass.hidden.index_select(&rows, 0)?;
        let scores = self.scores_of(&hidden)?;
        let dscores = loss(&scores);
        let dscores = Tensor::new(dscores.as_slice(), pass.hidden.device())?.unsqueeze(1)?;
        let head_index = self.parameter_names().len() - 1;
        let d_head = dscores.t()?.matmul(&hidden.to_dtype(DType::F32)?)?;
        gradients.add(head_index, &d_head)?;
        let d_rows = dscores.matmul(&self.decoder.head.to_dtype(DType::F32)?)?;
        let d_rows = d_rows.to_dtype(pass.hidden.dtype())?;
        let d_hidden = pass.hidden.zeros_like()?.index_add(&rows, &d_rows, 0)?;
        self.backward(pass, &d_hidden, gradients)?;
        Ok(scores)
    }

    /// The reward head's output for hidden states, shape (rows, H), in f32.
    fn scores_of(&self, hidden: &Tensor) -> CandleResult<Vec<f32>> {
        let head = self.decoder.head.to_dtype(DType::F32)?;
        matmul_t(&hidden.to_dtype(DType::F32)?, &head)?
            .squeeze(1)?
            .to_vec1()
    }

    /// Forward pass that stores what the backward pass needs of each layer.
    fn forward(&self, batch: &Batch, gradient_checkpointing: bool) -> CandleResult<ForwardPass> {
        let config = &self.decoder.config;
        let packed = self.pack(batch)?;
        let mut x = self.decoder.embed(&batch.ids)?;
        let mut activations = Vec::with_capacity(self.decoder.layers.len());
        for layer in &self.decoder.layers {
            let (out, of_layer) =
                backward::forward(layer, &x, config, &packed, gradient_checkpointing)?;
            activations.push(of_layer);
            x = out;
        }
        let hidden = rms_norm(&x, &self.decoder.norm, config.rms_norm_eps)?;
        Ok(ForwardPass {
            packed,
            activations,
            last: x,
            hidden,
        })
    }

    /// Backward pass from the gradient `d_hidden` of the hidden states after the last norm, shape (T, H).
    fn backward(
        &self,
        pass: ForwardPass,
        d_hidden: &Tensor,
        gradients: &mut Gradients,
    ) -> CandleResult<()> {
        let config = &self.decoder.config;
        let layers = &self.decoder.layers;
        let has_lora = |layer: &usize| {
            let projections = &layers[*layer].projections;
            projections
                .iter()
                .any(|projection| projection.lora.is_some())
        };
        // Layers below the lowest one with an adapter need no backward pass.
        let Some(first) = (0..layers.len()).find(has_lora) else {
            return Ok(());
        };
        let norm = &self.decoder.norm;
        let mut d = backward::norm::backward(&pass.last, norm, config.rms_norm_eps, d_hidden)?;
        let trained = pass.activations.into_iter().enumerate().skip(first);
        // From last to first; a layer's activations are freed as soon as they have been used.
        for (number, activations) in trained.rev() {
            let input_gradient = if number > first {
                InputGradient::Compute
            } else {
                InputGradient::Skip
            };
            let below = backward::backward(
                &layers[number],
                activations,
                &d,
                config,
                &pass.packed,
                gradients,
                input_gradient,
            )?;
            match below {
                Some(below) => d = below,
                None => break,
            }
        }
        Ok(())
    }
}

/// The result of a forward pass in training.
struct ForwardPass {
    packed: PackedSequences,
    /// The stored activations of each layer, first to last.
    activations: Vec<backward::LayerActivations>,
    /// The output of the last layer, shape (T, H).
    last: Tensor,
    /// The hidden states after the last norm, shape (T, H).
    hidden: Tensor,
}

/// The error for a LoRA target module that the model does not have.
fn unknown_target(target: &str) -> Error {
    Error::Unknown {
        what: "target module",
        given: target.to_owned(),
        known: "all-linear, q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj"
            .to_owned(),
    }
}
