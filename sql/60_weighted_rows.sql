-- reads: pair_ids, weights
-- writes: weighted_rows
-- The weights of the rows of a preference file, for `polyphony weigh`: the weight and the deviations of
-- each row's chosen response, in the order of the file.
SET datafusion.optimizer.join_reordering = false;
SELECT
    pair_ids.file_row,
    weights.deviation_semantic,
    weights.deviation_style,
    greatest(coalesce(weights.weight, 1.0), $min_weight) / $winner_mean AS weight
FROM weights
RIGHT JOIN pair_ids
    ON pair_ids.chosen_id = weights.response_id AND pair_ids.prompt_id = weights.prompt_id
ORDER BY pair_ids.file_row
