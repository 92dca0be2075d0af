//! Which numbers has a method where nobody says others? Those of the paper's scripts.

use polyphony_model::lora::LoraConfig;

use crate::config::Settings;
use crate::data::Overlength;
use crate::loss::{dpo, reward};
use crate::objective::{DorpoForm, Method};
use crate::schedule::Schedule;

impl Settings {
    /// The method's numbers, as the paper's scripts set them.
    pub fn preset(method: Method, on_gpu: bool) -> Self {
        let (is_sft, is_reward) = (method == Method::Sft, method == Method::Reward);
        let supervised = is_sft || is_reward;
        Self {
            reference: Some("init".to_owned()),
            lora_r: Some(if is_reward { 16 } else { 128 }),
            lora_alpha: Some(if is_reward { 32.0 } else { 256.0 }),
            rslora: Some(false),
            target_modules: Some(LoraConfig::default().target_modules),
            beta: Some(0.1),
            lambda: Some(0.25),
            loss: Some(dpo::Kind::Sigmoid),
            label_smoothing: Some(0.0),
            dorpo_form: Some(DorpoForm::Weighted),
            on_prompts: Some(false),
            reward_loss: Some(reward::Kind::L1),
            raw_scores: Some(false),
            learning_rate: Some(if supervised { 3e-5 } else { 5e-6 }),
            schedule: Some(if is_sft {
                Schedule::Cosine
            } else {
                Schedule::Linear
            }),
            cosine_cycles: Some(if is_sft { 0.25 } else { 0.5 }),
            warmup: Some(if is_sft { 500.0 } else { 0.0 }),
            weight_decay: Some(0.0),
            adam_beta1: Some(0.9),
            adam_beta2: Some(0.999),
            adam_eps: Some(1e-8),
            max_grad_norm: Some(1.0),
            batch_pairs: Some(if is_reward { 24 } else { 12 }),
            micro_batch_tokens: Some(if on_gpu { 16_384 } else { 1024 }),
            max_length: Some(2048),
            too_long: Some(Overlength::Drop),
            no_shuffle: Some(false),
            epochs: Some(match method {
                Method::Sft => 1,
                Method::Orpo | Method::Dorpo => 4,
                Method::Dpo | Method::Ddpo | Method::Reward => 3,
            }),
            seed: Some(42),
            device: Some("cpu".to_owned()),
            recompute: Some(false),
            eval_every: Some(100),
            eval_pairs: Some(if is_reward { 0 } else { 512 }),
            checkpoint_every: Some(100),
            checkpoint_minutes: Some(10.0),
            keep_checkpoints: Some(2),
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    /// As the published scripts have them (`scripts_finetuning`, `scripts_dpo`, `scripts_orpo`,
    /// `scripts_reward_modeling`); batches are theirs times devices and accumulation.
    #[test]
    fn numbers_are_those_of_the_paper() {
        let methods = [
            (Method::Sft, 128, 256.0, 3e-5, 1, Schedule::Cosine, 500.0),
            (Method::Dpo, 128, 256.0, 5e-6, 3, Schedule::Linear, 0.0),
            (Method::Ddpo, 128, 256.0, 5e-6, 3, Schedule::Linear, 0.0),
            (Method::Orpo, 128, 256.0, 5e-6, 4, Schedule::Linear, 0.0),
            (Method::Dorpo, 128, 256.0, 5e-6, 4, Schedule::Linear, 0.0),
            (Method::Reward, 16, 32.0, 3e-5, 3, Schedule::Linear, 0.0),
        ];
        for (method, r, alpha, rate, epochs, schedule, warmup) in methods {
            let named = Settings {
                model: Some("m".to_owned()),
                pairs: Some("p".into()),
                out: Some("o".into()),
                ..Settings::default()
            };
            let config = named.resolve(None, method).unwrap();
            assert_eq!((config.lora_r, config.lora_alpha), (r, alpha), "{method:?}");
            assert_eq!((config.learning_rate, config.epochs), (rate, epochs));
            assert_eq!((config.schedule, config.warmup), (schedule, warmup));
            assert_eq!((config.beta, config.lambda), (0.1, 0.25));
            assert_eq!((config.weight_decay, config.max_grad_norm), (0.0, 1.0));
            assert_eq!(config.target_modules, ["q_proj", "v_proj"]);
            assert_eq!(config.max_length, 2048);
            // A share of the steps, or so many of them.
            let rises = |warmup: f64| {
                Config {
                    warmup,
                    ..config.clone()
                }
                .warmup_steps(1001)
            };
            assert_eq!((rises(0.1), rises(0.0), rises(7.0)), (101, 0, 7));
        }
        // The rate of SFT ends at half.
        let end = Schedule::Cosine.factor(1000, 1000, 500, 0.25);
        assert!((end - 0.5).abs() < 1e-12, "{end}");
    }
}
