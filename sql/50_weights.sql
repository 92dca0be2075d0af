-- reads: deviations
-- writes: weights
-- Weights: each deviation is min-max scaled within its prompt (1/2 where all are equal); the
-- geometric mean over the spaces is divided by its mean over the prompt, so that the weights of a
-- prompt have mean 1.
WITH by_response AS (
    SELECT
        prompt_id,
        response_id,
        max(deviation) FILTER (WHERE space = 'semantic') AS semantic,
        max(deviation) FILTER (WHERE space = 'style') AS style
    FROM deviations
    GROUP BY prompt_id, response_id
),
ranges AS (
    SELECT
        prompt_id,
        min(deviation) FILTER (WHERE space = 'semantic') AS least_semantic,
        max(deviation) FILTER (WHERE space = 'semantic') AS most_semantic,
        min(deviation) FILTER (WHERE space = 'style') AS least_style,
        max(deviation) FILTER (WHERE space = 'style') AS most_style
    FROM deviations
    GROUP BY prompt_id
),
scaled AS (
    SELECT
        by_response.*,
        CASE
            WHEN most_semantic > least_semantic
                THEN (semantic - least_semantic) / (most_semantic - least_semantic)
            WHEN semantic IS NOT NULL THEN 0.5
        END AS m_semantic,
        CASE
            WHEN most_style > least_style
                THEN (style - least_style) / (most_style - least_style)
            WHEN style IS NOT NULL THEN 0.5
        END AS m_style
    FROM ranges
    JOIN by_response ON ranges.prompt_id = by_response.prompt_id
),
combined AS (
    SELECT
        *,
        coalesce(sqrt(m_semantic * m_style), m_semantic, m_style) AS g
    FROM scaled
)
SELECT
    prompt_id,
    response_id,
    semantic AS deviation_semantic,
    style AS deviation_style,
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
