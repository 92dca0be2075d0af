-- reads: deviations
-- writes: weights
-- Weights: each deviation is min-max scaled within its prompt (1/2 where all are equal); the
-- geometric mean over the spaces is divided by its mean over the prompt, so that the weights of a
-- prompt have mean 1. The order makes sums, and so their last bit, the same in every run.
WITH by_response AS (
    SELECT
        prompt_id,
        response_id,
        max(deviation) FILTER (WHERE space = 'semantic') AS semantic,
        max(deviation) FILTER (WHERE space = 'style') AS style
    FROM deviations
    GROUP BY prompt_id, response_id
)
SELECT
    prompt_id,
    response_id,
    semantic AS deviation_semantic,
    style AS deviation_style,
    weight(semantic, style) OVER (PARTITION BY prompt_id ORDER BY response_id) AS weight
FROM by_response
ORDER BY prompt_id, response_id
