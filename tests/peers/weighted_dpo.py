"""Weighted DPO (DDPO) in TRL 1.16: a `DPOTrainer` that multiplies each pair's loss by the column `weight`.

    trainer = WeightedDPOTrainer(model=..., args=DPOConfig(...), train_dataset=pairs, processing_class=tokenizer)

Any batch size. TRL's metrics stay unweighted. Other terms of `loss_type`, as in `["sigmoid", "sft"]`, are not multiplied.
"""
import torch
import torch.nn.functional as F
from trl import DPOTrainer


class WeightedDPOTrainer(DPOTrainer):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        collate = self.data_collator
        weights = lambda rows: torch.tensor([float(row["weight"]) for row in rows])
        self.data_collator = lambda rows: {**collate(rows), "weight": weights(rows)}

    def _set_signature_columns_if_needed(self):
        super()._set_signature_columns_if_needed()
        if "weight" not in self._signature_columns:
            self._signature_columns.append("weight")

    def _compute_loss(self, model, inputs, return_outputs):
        weight, logps = inputs["weight"], []
        inputs = {name: value for name, value in inputs.items() if name != "weight"}
        keep = lambda module, args, output: logps.append(getattr(output, "log_probs", None))
        hooks = [part.register_forward_hook(keep) for part in (model, self.ref_model) if part is not None]
        loss = super()._compute_loss(model, inputs, return_outputs)
        for hook in hooks:
            hook.remove()
        chosen, rejected = logps[0].sum(1).chunk(2)
        known = [inputs[f"ref_{side}_logps"] for side in ("chosen", "rejected") if self.precompute_ref_logps]
        ref_chosen, ref_rejected = known or logps[1].sum(1).chunk(2)
        margin = (chosen - ref_chosen) - (rejected - ref_rejected)
        # TRL's mean has each pair once: the rest of its weight is added.
        rest = ((weight - 1) * -F.logsigmoid(self.beta * margin)).mean()
        rest = rest * self.loss_weights[self.loss_types.index("sigmoid")]
        return (loss[0] + rest, loss[1]) if return_outputs else loss + rest
