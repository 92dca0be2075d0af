//! What does the model that learns give, and what are its gradients?

use candle_core::{DType, Result as Candle, Tensor};
use polyphony_io::{Error, Result};
use polyphony_model::decoder::ops::{self, PackedSequences};
use polyphony_model::decoder::{Decoder, Head, PROJECTIONS};
use polyphony_model::device::DeviceSpec;
use polyphony_model::files::ModelFiles;

use crate::backward;
use crate::backward::head::{self, TokenStats};
use crate::data::batch::Batch;
use crate::lora::{Gradients, Lora, LoraLinear};
use polyphony_io::random::SplitMix64;
use polyphony_model::lora::{Adapter, LoraConfig};

/// A frozen decoder with adapters that learn.
#[derive(Debug)]
pub struct Policy {
    /// The decoder.
    pub decoder: Decoder<LoraLinear>,
    /// What its adapters are like.
    pub lora_config: LoraConfig,
    /// Whether the head learns, too: that of a reward model.
    learns_head: bool,
}

/// Adapters taken off a policy, to be put back.
#[derive(Debug)]
pub struct DetachedLora(Vec<Option<Lora>>);

impl Policy {
    /// Loads a model without adapters.
    ///
    /// # Errors
    /// When a file is missing or is not what it should be.
    pub fn bare(files: &ModelFiles, head: Head, place: DeviceSpec) -> Result<Self> {
        let device = place.open()?;
        let frozen = |_: &str, weight: Tensor| Ok(LoraLinear { weight, lora: None });
        let mut decoder = Decoder::load(files, head, place.precision(), &device, frozen)?;
        let learns_head = head == Head::Score;
        if learns_head {
            // Whatever learns is f32, as its gradients and moments.
            decoder.head = decoder.head.to_dtype(DType::F32)?;
        }
        Ok(Self {
            decoder,
            lora_config: LoraConfig::default(),
            learns_head,
        })
    }

    /// Puts fresh adapters on: `A` drawn uniformly from `±1/sqrt(in)` (PEFT's Kaiming), `B` zero.
    ///
    /// # Errors
    /// When a target is none of the model's products.
    pub fn adapt(&mut self, lora_config: &LoraConfig, seed: u64) -> Result<()> {
        if let Some(unknown) = lora_config.unknown_target() {
            return Err(no_target(unknown));
        }
        let mut random = SplitMix64::seed_from_u64(seed);
        let device = self.decoder.device.clone();
        self.put_on(lora_config, |_, out, into| {
            let bound = 1.0 / (into as f64).sqrt();
            let values: Vec<f32> = (0..lora_config.r * into)
                .map(|_| ((2.0 * random.next_f64() - 1.0) * bound) as f32)
                .collect();
            let a = Tensor::from_vec(values, (lora_config.r, into), &device)?;
            Ok((a, Tensor::zeros((out, lora_config.r), DType::F32, &device)?))
        })
    }

    /// Puts on the adapters of a folder.
    ///
    /// # Errors
    /// When they belong to another base: the message names the shapes.
    pub fn load_adapter(&mut self, adapter: &Adapter) -> Result<()> {
        let device = self.decoder.device.clone();
        let lora_config = adapter.lora_config.clone();
        self.put_on(&lora_config, |name, out, into| {
            let of = |part: &str, shape: [usize; 2]| -> Result<Tensor> {
                adapter.tensor(
                    &format!("base_model.model.{name}.{part}.weight"),
                    shape,
                    &device,
                )
            };
            Ok((
                of("lora_A", [lora_config.r, into])?,
                of("lora_B", [out, lora_config.r])?,
            ))
        })?;
        adapter.all_used(&self.names())?;
        if self.learns_head {
            let shape = [1, self.decoder.config.width];
            self.decoder.head = adapter
                .tensor("base_model.model.score.weight", shape, &device)?
                .to_dtype(DType::F32)?;
        }
        Ok(())
    }

    fn put_on(
        &mut self,
        lora_config: &LoraConfig,
        mut make: impl FnMut(&str, usize, usize) -> Result<(Tensor, Tensor)>,
    ) -> Result<()> {
        let mut place = 0;
        for (number, layer) in self.decoder.layers.iter_mut().enumerate() {
            for (projection, name) in layer.projections.iter_mut().zip(PROJECTIONS) {
                projection.lora = None;
                if !lora_config.targets(name) {
                    continue;
                }
                let (out, into) = projection.weight.dims2()?;
                let (a, b) = make(&format!("model.layers.{number}.{name}"), out, into)?;
                let scale = lora_config.scale();
                projection.lora = Some(Lora { a, b, scale, place });
                place += 2;
            }
        }
        if place == 0 {
            return Err(no_target(&lora_config.target_modules.join(", ")));
        }
        self.lora_config = lora_config.clone();
        Ok(())
    }

    /// What learns, in one order, as PEFT names it.
    pub fn names(&self) -> Vec<String> {
        let mut names = Vec::new();
        for (number, layer) in self.decoder.layers.iter().enumerate() {
            for (projection, name) in layer.projections.iter().zip(PROJECTIONS) {
                if projection.lora.is_some() {
                    let prefix = format!("base_model.model.model.layers.{number}.{name}");
                    names.push(format!("{prefix}.lora_A.weight"));
                    names.push(format!("{prefix}.lora_B.weight"));
                }
            }
        }
        if self.learns_head {
            names.push("base_model.model.score.weight".to_owned());
        }
        names
    }

    /// The values of what learns, in the order of [`Self::names`].
    pub fn parameters(&self) -> Vec<Tensor> {
        let loras = self
            .loras()
            .flat_map(|lora| [lora.a.clone(), lora.b.clone()]);
        let head = self.learns_head.then(|| self.decoder.head.clone());
        loras.chain(head).collect()
    }

    /// Sets the values of what learns.
    pub fn set_parameters(&mut self, values: Vec<Tensor>) {
        let mut values = values.into_iter();
        for layer in &mut self.decoder.layers {
            let loras = layer.projections.iter_mut().filter_map(|p| p.lora.as_mut());
            for lora in loras {
                if let (Some(a), Some(b)) = (values.next(), values.next()) {
                    (lora.a, lora.b) = (a, b);
                }
            }
        }
        if let Some(head) = values.next().filter(|_| self.learns_head) {
            self.decoder.head = head;
        }
    }

    fn loras(&self) -> impl Iterator<Item = &Lora> {
        let layers = self.decoder.layers.iter();
        layers.flat_map(|layer| layer.projections.iter().filter_map(|p| p.lora.as_ref()))
    }

    /// Takes the adapters off.
    pub fn take_off(&mut self) -> DetachedLora {
        let layers = self.decoder.layers.iter_mut();
        DetachedLora(
            layers
                .flat_map(|layer| layer.projections.iter_mut().map(|p| p.lora.take()))
                .collect(),
        )
    }

    /// Puts adapters back that were taken off.
    pub fn put_back(&mut self, loras: DetachedLora) {
        let mut loras = loras.0.into_iter();
        for layer in &mut self.decoder.layers {
            for projection in &mut layer.projections {
                projection.lora = loras.next().flatten();
            }
        }
    }

    /// Adds the adapters to the weights, for good.
    ///
    /// # Errors
    /// When the device fails.
    pub fn merge(&mut self) -> Candle<()> {
        for layer in &mut self.decoder.layers {
            for projection in &mut layer.projections {
                projection.weight = projection.merged()?;
                projection.lora = None;
            }
        }
        Ok(())
    }

    fn head(&self) -> Candle<head::Head<'_>> {
        head::Head::new(&self.decoder.head, self.decoder.config.logit_cap)
    }

    /// The log-probability of each target.
    ///
    /// # Errors
    /// When the device fails, as without memory.
    pub fn logps(&self, batch: &Batch) -> Candle<Vec<f32>> {
        let segments =
            PackedSequences::new(&batch.lengths, &self.decoder.config, &self.decoder.device)?;
        let x = self.decoder.forward(&batch.ids, &segments)?;
        let rows = Tensor::new(batch.rows.as_slice(), x.device())?;
        self.head()?
            .logps(&x.index_select(&rows, 0)?, &batch.targets)
    }

    /// What is said of each target.
    ///
    /// # Errors
    /// When the device fails, as without memory.
    pub fn token_stats(&self, batch: &Batch) -> Candle<TokenStats> {
        let segments =
            PackedSequences::new(&batch.lengths, &self.decoder.config, &self.decoder.device)?;
        let x = self.decoder.forward(&batch.ids, &segments)?;
        let rows = Tensor::new(batch.rows.as_slice(), x.device())?;
        self.head()?
            .token_stats(&x.index_select(&rows, 0)?, &batch.targets)
    }

    /// Learns a batch: `by` makes of what is said of each target the loss's derivative by its
    /// log-probability, whose gradients are added. With `recompute` layers keep their inputs only.
    ///
    /// # Errors
    /// When the device fails, as without memory.
    pub fn forward_backward(
        &self,
        batch: &Batch,
        gradients: &mut Gradients,
        recompute: bool,
        by: impl FnOnce(&TokenStats) -> Vec<f32>,
    ) -> Candle<()> {
        let (segments, mut kept, last) = self.forward(batch, recompute)?;
        let x = ops::rms_norm(&last, &self.decoder.norm, self.decoder.config.eps)?;
        let places = Tensor::new(batch.rows.as_slice(), x.device())?;
        let rows = x.index_select(&places, 0)?;
        let token_stats = self.head()?.token_stats(&rows, &batch.targets)?;
        let d_rows = self
            .head()?
            .backward(&rows, &batch.targets, &by(&token_stats))?;
        let dx = x.zeros_like()?.index_add(&places, &d_rows, 0)?;
        self.backward(&segments, &mut kept, &last, &dx, gradients)
    }

    /// The head's number at each text's last token; `by` makes of them the loss's derivatives, whose
    /// gradients are added.
    ///
    /// # Errors
    /// When the device fails, as without memory.
    pub fn forward_backward_scores(
        &self,
        batch: &Batch,
        gradients: &mut Gradients,
        recompute: bool,
        by: impl FnOnce(&[f32]) -> Vec<f32>,
    ) -> Candle<Vec<f32>> {
        let (segments, mut kept, last) = self.forward(batch, recompute)?;
        let x = ops::rms_norm(&last, &self.decoder.norm, self.decoder.config.eps)?;
        let places = Tensor::new(ends(batch).as_slice(), x.device())?;
        let rows = x.index_select(&places, 0)?;
        let scores = self.scores_of(&rows)?;
        let by = by(&scores);
        let by = Tensor::new(by.as_slice(), x.device())?.unsqueeze(1)?;
        let count = self.names().len();
        gradients.add(count - 1, &by.t()?.matmul(&rows.to_dtype(DType::F32)?)?)?;
        let d_rows = by.matmul(&self.decoder.head.to_dtype(DType::F32)?)?;
        let dx = x
            .zeros_like()?
            .index_add(&places, &d_rows.to_dtype(x.dtype())?, 0)?;
        self.backward(&segments, &mut kept, &last, &dx, gradients)?;
        Ok(scores)
    }

    /// The head's number at each text's last token: a reward.
    ///
    /// # Errors
    /// When the device fails, as without memory.
    pub fn scores(&self, batch: &Batch) -> Candle<Vec<f32>> {
        let segments =
            PackedSequences::new(&batch.lengths, &self.decoder.config, &self.decoder.device)?;
        let x = self.decoder.forward(&batch.ids, &segments)?;
        let places = Tensor::new(ends(batch).as_slice(), x.device())?;
        self.scores_of(&x.index_select(&places, 0)?)
    }

    fn scores_of(&self, rows: &Tensor) -> Candle<Vec<f32>> {
        let head = self.decoder.head.to_dtype(DType::F32)?;
        rows.to_dtype(DType::F32)?
            .matmul(&head.t()?)?
            .squeeze(1)?
            .to_vec1()
    }

    fn forward(
        &self,
        batch: &Batch,
        recompute: bool,
    ) -> Candle<(PackedSequences, Vec<backward::LayerActivations>, Tensor)> {
        let config = &self.decoder.config;
        let segments = PackedSequences::new(&batch.lengths, config, &self.decoder.device)?;
        let mut x = self.decoder.embed(&batch.ids)?;
        let mut kept = Vec::with_capacity(self.decoder.layers.len());
        for layer in &self.decoder.layers {
            let (out, of_layer) = backward::forward(layer, &x, config, &segments, recompute)?;
            kept.push(of_layer);
            x = out;
        }
        Ok((segments, kept, x))
    }

    fn backward(
        &self,
        segments: &PackedSequences,
        kept: &mut Vec<backward::LayerActivations>,
        last: &Tensor,
        dx: &Tensor,
        gradients: &mut Gradients,
    ) -> Candle<()> {
        let config = &self.decoder.config;
        // Below the first layer with an adapter nobody needs a gradient.
        let learns = |layer: usize| {
            let projections = &self.decoder.layers[layer].projections;
            projections
                .iter()
                .any(|projection| projection.lora.is_some())
        };
        let Some(first) = (0..self.decoder.layers.len()).find(|&layer| learns(layer)) else {
            return Ok(());
        };
        let mut d = backward::norm::backward(last, &self.decoder.norm, config.eps, dx)?;
        while kept.len() > first {
            let number = kept.len() - 1;
            let Some(of_layer) = kept.pop() else { break };
            let layer = &self.decoder.layers[number];
            let below = backward::backward(
                layer,
                of_layer,
                &d,
                config,
                segments,
                gradients,
                number > first,
            )?;
            match below {
                Some(below) => d = below,
                None => break,
            }
        }
        Ok(())
    }
}

fn no_target(given: &str) -> Error {
    Error::Unknown {
        what: "target module",
        given: given.to_owned(),
        known: "all-linear, q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj"
            .to_owned(),
    }
}

/// Where each text's last token stands.
fn ends(batch: &Batch) -> Vec<u32> {
    let ends = batch.lengths.iter().scan(0, |end, length| {
        *end += length;
        Some(*end as u32 - 1)
    });
    ends.collect()
}
