-- reads: pairs, weighed, candidates, quarantine
-- writes: card
-- The counts of the data set card: a section, a key and a number a row, in order.
WITH sizes AS (
    SELECT prompt_id, count(*) AS n FROM weighed GROUP BY prompt_id
),
weighted AS (
    SELECT pairs.weight, sizes.n FROM pairs LEFT JOIN sizes ON sizes.prompt_id = pairs.prompt_id
),
rows AS (
    SELECT 1 AS part, 0 AS place, 'pairs' AS section, 'all' AS key, CAST(count(*) AS DOUBLE) AS value
    FROM pairs
    UNION ALL
    SELECT 1, 1, 'pairs', 'prompts', count(DISTINCT prompt_id) FROM pairs
    UNION ALL
    SELECT 1, 2, 'pairs', 'split ' || split, count(*) FROM pairs GROUP BY split
    UNION ALL
    SELECT 1, 3, 'pairs', 'of prompts with two responses (weight 1 by construction)', count(*)
    FROM weighted WHERE n = 2
    UNION ALL
    SELECT
        2,
        min(n),
        'prompts by responses weighed',
        CASE
            WHEN n <= 4 THEN arrow_cast(n, 'Utf8')
            WHEN n <= 8 THEN '5 to 8'
            WHEN n <= 16 THEN '9 to 16'
            WHEN n <= 64 THEN '17 to 64'
            ELSE 'over 64'
        END AS bucket,
        count(*)
    FROM sizes GROUP BY bucket
    UNION ALL
    SELECT 3, 0, 'weights', 'mean', round(avg(weight), 9) FROM weighted
    UNION ALL
    SELECT 3, 1, 'weights', 'least', min(weight) FROM weighted
    UNION ALL
    SELECT 3, 2, 'weights', 'quartile 1', percentile_cont(0.25) WITHIN GROUP (ORDER BY weight)
    FROM weighted
    UNION ALL
    SELECT 3, 3, 'weights', 'median', percentile_cont(0.5) WITHIN GROUP (ORDER BY weight)
    FROM weighted
    UNION ALL
    SELECT 3, 4, 'weights', 'quartile 3', percentile_cont(0.75) WITHIN GROUP (ORDER BY weight)
    FROM weighted
    UNION ALL
    SELECT 3, 5, 'weights', 'greatest', max(weight) FROM weighted
    UNION ALL
    SELECT 3, 6, 'weights', 'share that is 0',
        round(avg(CASE WHEN weight = 0 THEN 1.0 ELSE 0.0 END), 9)
    FROM weighted
    UNION ALL
    SELECT
        4,
        CAST(least(floor(weight * 4), 16) AS BIGINT),
        'weights of the chosen',
        arrow_cast(least(floor(weight * 4), 16) / 4, 'Utf8'),
        count(*)
    FROM weighted
    GROUP BY least(floor(weight * 4), 16)
    UNION ALL
    SELECT 5, 0, 'responses', coalesce(excluded, 'candidate'), count(*)
    FROM candidates GROUP BY excluded
    UNION ALL
    SELECT 6, 0, 'refused at ingest', reason, count(*) FROM quarantine GROUP BY reason
)
SELECT section, key, value FROM rows WHERE value IS NOT NULL ORDER BY part, place, key
