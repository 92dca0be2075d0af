//! AdamW (Loshchilov and Hutter 2019) in f32, and gradient clipping.

use candle_core::{DType, Result, Tensor};

/// AdamW's hyperparameters except the learning rate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamW {
    /// beta1: the decay rate of the first moment, in `[0, 1)`.
    pub beta1: f64,
    /// beta2: the decay rate of the second moment, in `[0, 1)`.
    pub beta2: f64,
    /// Epsilon, added to the denominator: 0 or more.
    pub eps: f64,
    /// Decoupled weight decay, 0 or more.
    pub weight_decay: f64,
}

/// AdamW's state, in the order of the parameters.
#[derive(Debug, Clone)]
pub struct Moments {
    /// The number of steps so far, for the bias correction.
    pub steps: usize,
    /// First moments: running means of the gradients.
    pub first: Vec<Tensor>,
    /// Second moments: running means of the squared gradients.
    pub second: Vec<Tensor>,
}

impl Moments {
    /// Zeros, in f32, of the parameters' shapes.
    ///
    /// # Errors
    /// When the device has no memory left.
    pub fn new(parameters: &[Tensor]) -> Result<Self> {
        let zeros: Vec<Tensor> = parameters
            .iter()
            .map(|value| Tensor::zeros(value.dims(), DType::F32, value.device()))
            .collect::<Result<_>>()?;
        Ok(Self {
            steps: 0,
            first: zeros.clone(),
            second: zeros,
        })
    }
}

impl AdamW {
    /// Parameters and moments after one step (PyTorch: `torch.optim.AdamW`). The inputs are not changed, so
    /// that they stay consistent when a step fails halfway.
    ///
    /// # Errors
    /// When shapes do not fit, or memory runs out.
    pub fn step(
        &self,
        parameters: &[Tensor],
        gradients: &[Tensor],
        moments: &Moments,
        learning_rate: f64,
    ) -> Result<(Vec<Tensor>, Moments)> {
        let mut next = Moments {
            steps: moments.steps + 1,
            first: Vec::with_capacity(parameters.len()),
            second: Vec::with_capacity(parameters.len()),
        };
        let steps = next.steps as i32;
        // Bias corrections of the moments, which start at zero.
        let (first_correction, second_correction) =
            (1.0 - self.beta1.powi(steps), 1.0 - self.beta2.powi(steps));
        let mut values = Vec::with_capacity(parameters.len());
        for (index, (value, gradient)) in parameters.iter().zip(gradients).enumerate() {
            let first = ((&moments.first[index] * self.beta1)? + (gradient * (1.0 - self.beta1))?)?;
            let second =
                ((&moments.second[index] * self.beta2)? + (gradient.sqr()? * (1.0 - self.beta2))?)?;
            let root = ((second.sqrt()? / second_correction.sqrt())? + self.eps)?;
            let decayed = (value * (1.0 - learning_rate * self.weight_decay))?;
            values.push((decayed - ((&first / root)? * (learning_rate / first_correction))?)?);
            next.first.push(first);
            next.second.push(second);
        }
        Ok((values, next))
    }
}

/// The L2 norm of all gradients as one vector (PyTorch: `get_total_norm`).
///
/// # Errors
/// When the device fails.
pub fn global_norm(gradients: &[Tensor]) -> Result<f64> {
    let square = |gradient: &Tensor| gradient.sqr()?.sum_all()?.to_dtype(DType::F64);
    let squares: Vec<Tensor> = gradients.iter().map(square).collect::<Result<_>>()?;
    if squares.is_empty() {
        return Ok(0.0);
    }
    // One transfer for all norms: each transfer waits for the device.
    let squares: Vec<f64> = Tensor::stack(&squares, 0)?.to_vec1()?;
    Ok(squares.iter().sum::<f64>().sqrt())
}

/// Gradients scaled so that their `norm` is at most `max_norm` (PyTorch: `clip_grad_norm_`).
///
/// # Errors
/// When the device fails.
pub fn clip_grad_norm(gradients: Vec<Tensor>, norm: f64, max_norm: f64) -> Result<Vec<Tensor>> {
    let scale = max_norm / (norm + 1e-6);
    if scale >= 1.0 {
        return Ok(gradients);
    }
    gradients.iter().map(|gradient| gradient * scale).collect()
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn steps_match_pytorch() {
        // torch.optim.AdamW([1., -2.], lr=0.1, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01),
        // gradients [0.5, -0.25] and then [0.1, 0.2].
        let new = |values: [f32; 2]| Tensor::new(&values, &Device::Cpu).unwrap();
        let adamw = AdamW {
            beta1: 0.9,
            beta2: 0.999,
            eps: 1e-8,
            weight_decay: 0.01,
        };
        let mut values = vec![new([1.0, -2.0])];
        let mut moments = Moments::new(&values).unwrap();
        for (gradient, expected) in [
            ([0.5, -0.25], [0.899_f32, -1.898]),
            ([0.1, 0.2], [0.817_796_9, -1.890_289_5]),
        ] {
            (values, moments) = adamw
                .step(&values, &[new(gradient)], &moments, 0.1)
                .unwrap();
            let actual: Vec<f32> = values[0].to_vec1().unwrap();
            for (actual, expected) in actual.iter().zip(expected) {
                assert!((actual - expected).abs() < 2e-6, "{actual} {expected}");
            }
        }
    }

    #[test]
    fn clipping_preserves_the_direction() {
        let gradients = vec![Tensor::new(&[3.0_f32, 4.0], &Device::Cpu).unwrap()];
        let norm = global_norm(&gradients).unwrap();
        assert_eq!(norm, 5.0);
        let clipped = clip_grad_norm(gradients.clone(), norm, 1.0).unwrap();
        assert!((global_norm(&clipped).unwrap() - 1.0).abs() < 1e-6);
        let unclipped = clip_grad_norm(gradients, norm, 10.0).unwrap();
        assert_eq!(global_norm(&unclipped).unwrap(), 5.0);
    }
}
