//! What does an adapter do to a product? LoRA (Hu et al. 2021), forward and backward.

use candle_core::{DType, Result, Tensor};
use polyphony_model::decoder::Projection;

/// A low-rank term `scale * (x A^T) B^T` beside a frozen weight.
#[derive(Debug, Clone)]
pub struct Lora {
    /// Shape (r, in), f32.
    pub a: Tensor,
    /// Shape (out, r), f32.
    pub b: Tensor,
    /// `alpha / r`, or `alpha / sqrt(r)` where it is rank-stabilised.
    pub scale: f64,
    /// Where the gradient of `a` stands among all gradients; that of `b` stands behind it.
    pub place: usize,
}

/// A frozen weight of shape (out, in), with an adapter or without.
#[derive(Debug, Clone)]
pub struct LoraLinear {
    /// The weight; it never gets a gradient.
    pub weight: Tensor,
    /// The adapter.
    pub lora: Option<Lora>,
}

impl Projection for LoraLinear {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let y = x.matmul(&self.weight.t()?)?;
        match &self.lora {
            None => Ok(y),
            Some(lora) => y + lora.forward(x)?,
        }
    }
}

impl LoraLinear {
    /// Adds the adapter's gradients for `dy`, shape (tokens, out), at the input `x`, shape (tokens,
    /// in), to `gradients`; gives that of the input where it is wanted.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn backward(
        &self,
        x: &Tensor,
        dy: &Tensor,
        gradients: &mut Gradients,
        wants_input: bool,
    ) -> Result<Option<Tensor>> {
        let low = match &self.lora {
            Some(lora) => Some(lora.backward(x, dy, gradients)?),
            None => None,
        };
        if !wants_input {
            return Ok(None);
        }
        let dx = dy.matmul(&self.weight)?;
        match (low, &self.lora) {
            (Some(low), Some(lora)) => Ok(Some((dx + low.matmul(&lora.a.to_dtype(x.dtype())?)?)?)),
            _ => Ok(Some(dx)),
        }
    }

    /// The weight with its adapter added.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn merged(&self) -> Result<Tensor> {
        match &self.lora {
            None => Ok(self.weight.clone()),
            Some(lora) => {
                let term = (lora.b.matmul(&lora.a)? * lora.scale)?;
                let sum = (self.weight.to_dtype(DType::F32)? + term)?;
                sum.to_dtype(self.weight.dtype())
            }
        }
    }
}

impl Lora {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (a, b) = (self.a.to_dtype(x.dtype())?, self.b.to_dtype(x.dtype())?);
        x.matmul(&a.t()?)?.matmul(&b.t()?)? * self.scale
    }

    /// Adds `dA = (scale dY B)^T x` and `dB = scale dY^T (x A^T)`; gives `scale dY B`.
    fn backward(&self, x: &Tensor, dy: &Tensor, gradients: &mut Gradients) -> Result<Tensor> {
        let (a, b) = (self.a.to_dtype(x.dtype())?, self.b.to_dtype(x.dtype())?);
        let low = (dy.matmul(&b)? * self.scale)?;
        let middle = (x.matmul(&a.t()?)? * self.scale)?;
        gradients.add(self.place, &low.t()?.matmul(x)?)?;
        gradients.add(self.place + 1, &dy.t()?.matmul(&middle)?)?;
        Ok(low)
    }
}

/// The gradients of all that learns, in one order, in f32.
#[derive(Debug, Clone)]
pub struct Gradients(Vec<Option<Tensor>>);

impl Gradients {
    /// None yet, of so many.
    pub fn none(count: usize) -> Self {
        Self(vec![None; count])
    }

    /// Adds to one of them.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn add(&mut self, place: usize, more: &Tensor) -> Result<()> {
        let more = more.to_dtype(DType::F32)?;
        let sum = match self.0[place].take() {
            Some(sum) => (sum + more)?,
            None => more,
        };
        self.0[place] = Some(sum);
        Ok(())
    }

    /// Adds others, each to its own.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn join(&mut self, more: Self) -> Result<()> {
        for (place, more) in more.0.into_iter().enumerate() {
            if let Some(more) = more {
                self.add(place, &more)?;
            }
        }
        Ok(())
    }

    /// The gradients; zeros, as `like`, where there is none.
    ///
    /// # Errors
    /// When the device fails.
    pub fn into_tensors<'a>(self, like: impl Iterator<Item = &'a Tensor>) -> Result<Vec<Tensor>> {
        let pairs = self.0.into_iter().zip(like);
        pairs
            .map(|(sum, like)| sum.map_or_else(|| like.zeros_like(), Ok))
            .collect()
    }
}
