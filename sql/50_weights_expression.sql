-- reads: scored_responses, deviations, responses, prompts
-- writes: weights
-- Weights by the expression of --weight, which stands for $weight. It sees the columns of `described`:
-- a response, its deviations (`m_semantic` and `m_style`: min-max scaled within the prompt), its prompt.
-- The values are divided by their mean over the prompt, unless --raw-weights; where all are equal, each
-- weighs 1. A value that is no weight (NULL, NaN, infinite, negative) stays as it is: the run refuses it
-- by name. Hash joins build their tables from what is written first, and stream the texts.
SET datafusion.optimizer.join_reordering = false;
WITH by_response AS (
    SELECT
        prompt_id,
        response_id,
        max(deviation) FILTER (WHERE space = 'semantic') AS deviation_semantic,
        max(deviation) FILTER (WHERE space = 'style') AS deviation_style
    FROM deviations
    GROUP BY prompt_id, response_id
),
scaled AS (
    SELECT
        scored_responses.prompt_id,
        scored_responses.response_id,
        deviation_semantic,
        deviation_style,
        minmax(deviation_semantic) OVER prompt AS m_semantic,
        minmax(deviation_style) OVER prompt AS m_style
    FROM by_response
    RIGHT JOIN scored_responses
        ON scored_responses.prompt_id = by_response.prompt_id
        AND scored_responses.response_id = by_response.response_id
    WINDOW prompt AS (
        PARTITION BY scored_responses.prompt_id ORDER BY scored_responses.response_id
    )
),
described AS (
    SELECT
        scaled.*,
        responses.text,
        responses.score,
        responses.words,
        responses.created_at,
        responses.author_hash,
        prompts.prompt,
        prompts.tag,
        prompts.title,
        prompts.body,
        prompts.split,
        prompts.score AS prompt_score,
        prompts.created_at AS prompt_created_at
    FROM prompts
    JOIN scaled ON scaled.prompt_id = prompts.prompt_id
    -- By the response's id alone: it may belong to a repost of the prompt.
    JOIN responses ON responses.response_id = scaled.response_id
),
valued AS (
    SELECT
        prompt_id,
        response_id,
        deviation_semantic,
        deviation_style,
        CAST($weight AS DOUBLE) AS value
    FROM described
),
checked AS (
    SELECT
        *,
        CASE
            WHEN signum(value) >= 0 AND value < CAST('Infinity' AS DOUBLE) THEN value
        END AS usable
    FROM valued
)
SELECT
    prompt_id,
    response_id,
    deviation_semantic,
    deviation_style,
    CASE
        WHEN usable IS NULL OR $raw_weights THEN value
        WHEN max(usable) OVER prompt > min(usable) OVER prompt
            THEN value / avg(usable) OVER prompt
        ELSE 1.0
    END AS weight
FROM checked
WINDOW prompt AS (
    PARTITION BY prompt_id
    ORDER BY response_id
    ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING
)
ORDER BY prompt_id, response_id
