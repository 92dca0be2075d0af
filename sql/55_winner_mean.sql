-- reads: pair_ids, weights, prompts
-- writes: winner_mean
-- The mean weight of the chosen responses of the training split, by which --center-winners divides all
-- weights, and their number of pairs. One partition keeps the order of the sum.
SET datafusion.optimizer.join_reordering = false;
SET datafusion.execution.target_partitions = 1;
SELECT avg(greatest(coalesce(chosen.weight, 1.0), $min_weight)) AS mean, count(*) AS pairs
FROM prompts
JOIN (
    SELECT pair_ids.prompt_id, weights.weight
    FROM weights
    RIGHT JOIN pair_ids
        ON pair_ids.chosen_id = weights.response_id AND pair_ids.prompt_id = weights.prompt_id
) AS chosen ON chosen.prompt_id = prompts.prompt_id
WHERE prompts.split = 'train'
