-- reads: deviations
-- writes: weights
-- Each deviation min-max scaled within its prompt (one half where all are equal), the geometric
-- mean over the spaces, divided by its mean over the prompt: weights of a prompt have mean 1.
WITH scaled AS (
    SELECT
        space,
        prompt_id,
        response_id,
        deviation,
        CASE
            WHEN max(deviation) OVER prompt_in_space > min(deviation) OVER prompt_in_space
                THEN (deviation - min(deviation) OVER prompt_in_space)
                    / (max(deviation) OVER prompt_in_space - min(deviation) OVER prompt_in_space)
            ELSE 0.5
        END AS m
    FROM deviations
    WINDOW prompt_in_space AS (PARTITION BY space, prompt_id)
),
combined AS (
    SELECT
        prompt_id,
        response_id,
        max(CASE WHEN space = 'semantic' THEN deviation END) AS deviation_semantic,
        max(CASE WHEN space = 'style' THEN deviation END) AS deviation_style,
        CASE
            WHEN count(*) = 1 THEN max(m)
            ELSE sqrt(min(m) * max(m))
        END AS g
    FROM scaled
    GROUP BY prompt_id, response_id
)
SELECT
    prompt_id,
    response_id,
    deviation_semantic,
    deviation_style,
    CASE
        WHEN max(g) OVER prompt > min(g) OVER prompt THEN g / avg(g) OVER prompt
        ELSE 1.0
    END AS weight
FROM combined
-- The order makes sums, and so their last bit, the same in every run.
WINDOW prompt AS (
    PARTITION BY prompt_id
    ORDER BY response_id
    ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING
)
ORDER BY prompt_id, response_id
