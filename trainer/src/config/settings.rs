//! Hyperparameters: names as in TRL, PEFT and transformers, defaults as in the paper's scripts, bounds.

use std::path::PathBuf;

use polyphony_model::lora::LoraConfig;

use super::bound::Bound::{Above, AtLeast, Within};
use crate::data::reader::Overlength;
use crate::loss::dpo::DpoLoss;
use crate::loss::objective::DorpoForm;
use crate::loss::reward::RewardLoss;
use crate::method::Method;
use crate::optim::lr_scheduler::LrScheduler;

define_settings! { |method, on_gpu|
    "Data" {
        /// Training data, as `polyphony pairs` writes it (Parquet, JSON lines, JSON, CSV): prompt, chosen,
        /// rejected, weight; sft also takes prompt and response, reward takes prompt, response and score
        [value_name = "FILE"]
        data: PathBuf = required;
        /// Maximum length of a text, in tokens [default: 2048]
        [value_name = "N"]
        max_length: usize = default(2048) where AtLeast(2.0);
        /// What to do with pairs that have a longer text [default: drop]
        [value_name = "ACTION"]
        overlength: Overlength = default(Overlength::Drop);
        /// Keep the order of the file instead of shuffling each epoch
        [value_name = "BOOL", num_args = 0..=1, default_missing_value = "true"]
        no_shuffle: bool = default(false);
    }
    "Model" {
        /// Model to train: a folder, a GGUF file or a hub id `OWNER/NAME[@REVISION]`
        [value_name = "MODEL"]
        model: String = required;
        /// Device: cpu, cuda:0 (in bf16) or cuda:0:f32 [default: cpu]
        [value_name = "DEVICE"]
        device: String = default("cpu".to_owned());
        /// Gradient checkpointing: recompute activations in the backward pass; less memory, about a
        /// third more time
        [value_name = "BOOL", num_args = 0..=1, default_missing_value = "true"]
        gradient_checkpointing: bool = default(false);
        /// Micro-batch size in tokens: the part of a batch that is in memory at once (gradient
        /// accumulation) [default: 1024 on the CPU, 16384 on a GPU]
        [value_name = "N"]
        micro_batch_tokens: usize = default(if on_gpu { 16_384 } else { 1024 }) where AtLeast(1.0);
    }
    "LoRA" {
        /// PEFT adapter to start from, as SFT writes it [default: a new adapter]
        [value_name = "DIR"]
        adapter: PathBuf = optional;
        /// LoRA rank [default: 128; reward: 16]
        [value_name = "N"]
        lora_r: usize = default(if method == Method::Reward { 16 } else { 128 }) where AtLeast(1.0);
        /// LoRA alpha (scaling = alpha / r) [default: 256; reward: 32]
        [value_name = "X"]
        lora_alpha: f64 = default(if method == Method::Reward { 32.0 } else { 256.0 }) where Above(0.0);
        /// Rank-stabilized LoRA (scaling = alpha / sqrt(r))
        [value_name = "BOOL", num_args = 0..=1, default_missing_value = "true"]
        use_rslora: bool = default(false);
        /// Comma-separated modules to apply LoRA to, or all-linear [default: q_proj,v_proj]
        [value_name = "NAMES", value_delimiter = ',']
        target_modules: Vec<String> = default(LoraConfig::default().target_modules);
    }
    "Method" {
        /// dpo, ddpo: beta, the strength of the penalty for deviating from the reference model
        /// [default: 0.1]
        [value_name = "X"]
        beta: f64 = default(0.1) where Above(0.0);
        /// dpo, ddpo: loss function [default: sigmoid]
        [value_name = "LOSS"]
        loss_type: DpoLoss = default(DpoLoss::Sigmoid);
        /// dpo, ddpo with --loss-type sigmoid: label smoothing [default: 0]
        [value_name = "X"]
        label_smoothing: f64 = default(0.0) where Within(0.0, 0.5);
        /// dpo, ddpo: SFT term: factor of the mean negative log-likelihood of the chosen responses' tokens,
        /// which is added to the loss; the pair's weight does not multiply it (TRL: loss_type sigmoid,sft with
        /// loss_weights 1,X) [default: 0]
        [value_name = "X"]
        sft_weight: f64 = default(0.0) where AtLeast(0.0);
        /// dpo, ddpo: reference model: init (the policy before training), base (without adapter), or
        /// the folder of an adapter [default: init]
        [value_name = "init|base|DIR"]
        reference: String = default("init".to_owned());
        /// dpo, ddpo: cache of the reference log-probabilities, to share between runs with the same data,
        /// model and reference [default: OUT/reference_logps.jsonl]
        [value_name = "FILE"]
        reference_logps: PathBuf = optional;
        /// orpo, dorpo: lambda, the factor of the odds ratio term [default: 0.25]
        [value_name = "X"]
        lambda: f64 = default(0.25) where AtLeast(0.0);
        /// dorpo: how the weight is applied [default: weighted]
        [value_name = "FORM"]
        dorpo_form: DorpoForm = default(DorpoForm::Weighted);
        /// --sft-weight, --dorpo-form reference: number of examples whose means over tokens and weights are
        /// taken together, as on one device in TRL; the published DORPO runs have 2 on each of six devices
        /// [default: the whole batch]
        [value_name = "N"]
        per_device_train_batch_size: usize = optional where AtLeast(1.0);
        /// sft: train on the prompts' tokens, too
        [value_name = "BOOL", num_args = 0..=1, default_missing_value = "true"]
        train_on_prompts: bool = default(false);
        /// reward: loss function [default: l1]
        [value_name = "LOSS"]
        reward_loss: RewardLoss = default(RewardLoss::L1);
        /// reward: train on scores as they are, not log-transformed to the range -1 to 1
        [value_name = "BOOL", num_args = 0..=1, default_missing_value = "true"]
        raw_scores: bool = default(false);
    }
    "Optimizer" {
        /// Learning rate [default: 5e-6; sft, reward: 3e-5]
        [value_name = "X"]
        learning_rate: f64 = default(
            if matches!(method, Method::Sft | Method::Reward) { 3e-5 } else { 5e-6 }
        ) where AtLeast(0.0);
        /// Learning rate schedule after the warmup [default: linear; sft: cosine]
        [value_name = "TYPE"]
        lr_scheduler_type: LrScheduler = default(
            if method == Method::Sft { LrScheduler::Cosine } else { LrScheduler::Linear }
        );
        /// Cosine schedule: number of cycles; 0.5 ends at 0 [default: 0.5; sft: 0.25, which ends at half
        /// the learning rate]
        [value_name = "X"]
        lr_num_cycles: f64 = default(if method == Method::Sft { 0.25 } else { 0.5 }) where AtLeast(0.0);
        /// Warmup steps; below 1, their share of all steps [default: 0; sft: 500]
        [value_name = "X"]
        warmup_steps: f64 = default(if method == Method::Sft { 500.0 } else { 0.0 }) where AtLeast(0.0);
        /// AdamW weight decay [default: 0]
        [value_name = "X"]
        weight_decay: f64 = default(0.0) where AtLeast(0.0);
        /// AdamW beta1 [default: 0.9]
        [value_name = "X"]
        adam_beta1: f64 = default(0.9) where Within(0.0, 1.0);
        /// AdamW beta2 [default: 0.999]
        [value_name = "X"]
        adam_beta2: f64 = default(0.999) where Within(0.0, 1.0);
        /// AdamW epsilon [default: 1e-8]
        [value_name = "X"]
        adam_epsilon: f64 = default(1e-8) where AtLeast(0.0);
        /// Gradient clipping: maximum L2 norm of the gradients; 0 disables it [default: 1]
        [value_name = "X"]
        max_grad_norm: f64 = default(1.0) where AtLeast(0.0);
        /// Batch size: examples per step [default: 12, the paper's on six devices; reward: 24]
        [value_name = "N"]
        batch_size: usize = optional where AtLeast(1.0);
        /// Batch size in tokens: as many examples per step as fit, instead of --batch-size
        [value_name = "N", conflicts_with = "batch_size"]
        batch_tokens: usize = optional where AtLeast(1.0);
        /// Number of epochs [default: 3; sft: 1; orpo, dorpo: 4]
        [value_name = "N"]
        num_train_epochs: usize = default(match method {
            Method::Sft => 1,
            Method::Orpo | Method::Dorpo => 4,
            Method::Dpo | Method::Ddpo | Method::Reward => 3,
        }) where AtLeast(1.0);
        /// Number of steps, instead of --num-train-epochs
        [value_name = "N"]
        max_steps: usize = optional where AtLeast(1.0);
        /// Random seed [default: 42]
        [value_name = "N"]
        seed: u64 = default(42);
    }
    "Evaluation" {
        /// Evaluate the split `validation` or `test` every N steps, and after the last [default: 100]
        [value_name = "N"]
        eval_steps: usize = default(100) where AtLeast(1.0);
        /// Evaluate at most N examples, at equal distances; 0: all [default: 512; reward: 0]
        [value_name = "N"]
        max_eval_samples: usize = default(if method == Method::Reward { 0 } else { 512 });
    }
    "Watching" {
        /// Every N steps sample texts to held-out prompts and log their compression ratio, distinct-2, semantic
        /// and style distance, share of looping texts and reward (`watch_*` in metrics.jsonl)
        [value_name = "N"]
        watch: usize = optional where AtLeast(1.0);
        /// --watch: number of held-out prompts [default: 4]
        [value_name = "N"]
        watch_prompts: usize = default(4) where AtLeast(1.0);
        /// --watch: number of texts a prompt [default: 4]
        [value_name = "N"]
        watch_samples: usize = default(4) where AtLeast(2.0);
        /// --watch: maximum number of new tokens per text [default: 128]
        [value_name = "N"]
        watch_max_tokens: usize = default(128) where AtLeast(1.0);
        /// --watch: embedder of the semantic distance [default: builtin:words]
        [value_name = "MODEL"]
        watch_semantic: String = default("builtin:words".to_owned());
        /// --watch: embedder of the style distance [default: builtin:style]
        [value_name = "MODEL"]
        watch_style: String = default("builtin:style".to_owned());
        /// --watch: reward model; the most diverse adapter whose reward is not below the start's is kept in
        /// OUT/best
        [value_name = "MODEL"]
        watch_reward: String = optional;
        /// --watch: share of looping texts above which the policy has collapsed [default: 0.5]
        [value_name = "X"]
        collapse_looping: f64 = default(0.5) where Within(0.0, 1.0);
        /// --watch: share of its start below which distinct-2, semantic or style distance is a collapse
        /// [default: 0.5]
        [value_name = "X"]
        collapse_diversity: f64 = default(0.5) where Within(0.0, 1.0);
        /// --watch: end the run with an error at a collapse
        [value_name = "BOOL", num_args = 0..=1, default_missing_value = "true"]
        stop_on_collapse: bool = default(false);
    }
    "Checkpoints" {
        /// Output folder: adapter, metrics, checkpoints
        [value_name = "DIR"]
        out: PathBuf = required;
        /// Save a checkpoint every N steps [default: 100]
        [value_name = "N"]
        save_steps: usize = default(100) where AtLeast(1.0);
        /// Save a checkpoint at least every X minutes [default: 10]
        [value_name = "X"]
        save_minutes: f64 = default(10.0) where AtLeast(0.0);
        /// Number of checkpoints to keep [default: 2]
        [value_name = "N"]
        save_total_limit: usize = default(2) where AtLeast(1.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values from the published scripts (`scripts_finetuning`, `scripts_dpo`, `scripts_orpo`,
    /// `scripts_reward_modeling`); batch sizes are theirs multiplied by devices and gradient accumulation steps.
    #[test]
    fn defaults_match_the_papers_scripts() {
        let methods = [
            (Method::Sft, 128, 256.0, 3e-5, 1, LrScheduler::Cosine, 500.0),
            (Method::Dpo, 128, 256.0, 5e-6, 3, LrScheduler::Linear, 0.0),
            (Method::Ddpo, 128, 256.0, 5e-6, 3, LrScheduler::Linear, 0.0),
            (Method::Orpo, 128, 256.0, 5e-6, 4, LrScheduler::Linear, 0.0),
            (Method::Dorpo, 128, 256.0, 5e-6, 4, LrScheduler::Linear, 0.0),
            (Method::Reward, 16, 32.0, 3e-5, 3, LrScheduler::Linear, 0.0),
        ];
        for (method, r, alpha, rate, epochs, scheduler, warmup) in methods {
            let settings = Settings {
                model: Some("m".to_owned()),
                data: Some("p".into()),
                out: Some("o".into()),
                ..Settings::default()
            };
            let config = settings.resolve(None, method).unwrap();
            assert_eq!((config.lora_r, config.lora_alpha), (r, alpha), "{method:?}");
            assert_eq!(config.learning_rate, rate);
            assert_eq!(config.num_train_epochs, epochs);
            assert_eq!(config.lr_scheduler_type, scheduler);
            assert_eq!(config.warmup_steps, warmup);
            assert_eq!((config.beta, config.lambda), (0.1, 0.25));
            assert_eq!((config.weight_decay, config.max_grad_norm), (0.0, 1.0));
            assert_eq!(config.target_modules, ["q_proj", "v_proj"]);
            assert_eq!(config.max_length, 2048);
        }
        // A quarter of a cosine cycle: SFT's learning rate ends at half its maximum.
        let end = LrScheduler::Cosine.factor(1000, 1000, 500, 0.25);
        assert!((end - 0.5).abs() < 1e-12, "{end}");
    }
}
