//! Parts of a configuration, in the types of the modules that use them: LoRA, objective, optimizer, batch size.

use polyphony_io::{Error, Result};
use polyphony_model::lora::LoraConfig;

use super::settings::Config;
use crate::data::batch_schedule::{BatchSize, Duration};
use crate::loss::objective::Objective;
use crate::optim::adamw::AdamW;
use crate::watch::collapse::CollapseThresholds;

impl Config {
    /// The LoRA configuration of a new adapter.
    pub fn lora_config(&self) -> LoraConfig {
        LoraConfig {
            r: self.lora_r,
            lora_alpha: self.lora_alpha,
            use_rslora: self.use_rslora,
            target_modules: self.target_modules.clone(),
            ..LoraConfig::default()
        }
    }

    /// The training objective: the method with the hyperparameters of its loss.
    pub fn objective(&self) -> Objective {
        Objective {
            method: self.method,
            beta: self.beta,
            lambda: self.lambda,
            dpo_loss: self.loss_type,
            label_smoothing: self.label_smoothing,
            sft_weight: self.sft_weight,
            dorpo_form: self.dorpo_form,
            train_on_prompts: self.train_on_prompts,
            reward_loss: self.reward_loss,
        }
    }

    /// The optimizer: AdamW with its hyperparameters.
    pub fn adamw(&self) -> AdamW {
        AdamW {
            beta1: self.adam_beta1,
            beta2: self.adam_beta2,
            eps: self.adam_epsilon,
            weight_decay: self.weight_decay,
        }
    }

    /// The thresholds of a collapse of the texts of `--watch`.
    pub fn collapse_thresholds(&self) -> CollapseThresholds {
        CollapseThresholds {
            looping: self.collapse_looping,
            diversity: self.collapse_diversity,
        }
    }

    /// This configuration with the defaults of all options that change no step: those of `--watch`.
    #[must_use]
    pub fn without_watch(self) -> Self {
        Self {
            watch: None,
            watch_prompts: 1,
            watch_samples: 2,
            watch_max_tokens: 1,
            watch_semantic: String::new(),
            watch_style: String::new(),
            watch_reward: None,
            collapse_looping: 0.0,
            collapse_diversity: 0.0,
            stop_on_collapse: false,
            ..self
        }
    }

    /// The batch size: examples or tokens per step.
    pub fn batch_size(&self) -> BatchSize {
        match (self.batch_tokens, self.batch_size) {
            (Some(tokens), _) => BatchSize::Tokens(tokens),
            (None, examples) => BatchSize::Examples(examples.unwrap_or(1)),
        }
    }

    /// The length of the run: epochs or steps.
    pub fn duration(&self) -> Duration {
        self.max_steps
            .map_or(Duration::Epochs(self.num_train_epochs), Duration::Steps)
    }

    /// The number of warmup steps of a run of `total_steps`; a setting below 1 is a share of them.
    pub fn warmup_of(&self, total_steps: usize) -> usize {
        if self.warmup_steps < 1.0 {
            (self.warmup_steps * total_steps as f64).ceil() as usize
        } else {
            self.warmup_steps as usize
        }
    }

    /// The configuration as TOML, which [`super::Settings::read`] can read.
    ///
    /// # Errors
    /// Never for valid configurations; an internal error otherwise.
    pub fn to_toml(&self) -> Result<String> {
        toml::to_string(self).map_err(|error| Error::Internal(format!("config as TOML: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use super::super::Settings;
    use crate::method::Method;

    #[test]
    fn warmup_below_one_is_a_share_of_all_steps() {
        let settings = Settings {
            model: Some("m".to_owned()),
            data: Some("p".into()),
            out: Some("o".into()),
            ..Settings::default()
        };
        let mut config = settings.resolve(None, Method::Dpo).unwrap();
        let mut warmup = |steps: f64| {
            config.warmup_steps = steps;
            config.warmup_of(1001)
        };
        assert_eq!((warmup(0.1), warmup(0.0), warmup(7.0)), (101, 0, 7));
    }
}
