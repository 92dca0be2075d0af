-- reads: pairs, scored_responses, candidates, prompt_posts, near_duplicates, responses, quarantine
-- writes: card
-- The counts of the data set card, one per row and in order: a stable name, the section, the label and
-- the value. The program itself reads `pairs`, `prompts`, `pairs_of_two_responses`, `weight_mean`,
-- `share_of_zero_weights` and the rows `weight_bin` (label: lower bound).
WITH sizes AS (
    SELECT prompt_id, count(*) AS n FROM scored_responses GROUP BY prompt_id
),
weighted AS (
    SELECT pairs.weight, pairs.split, sizes.n
    FROM pairs
    LEFT JOIN sizes ON sizes.prompt_id = pairs.prompt_id
),
rows AS (
    SELECT
        1 AS part,
        0 AS position,
        'pairs' AS name,
        'pairs' AS section,
        'all' AS label,
        CAST(count(*) AS DOUBLE) AS value
    FROM pairs
    UNION ALL
    SELECT 1, 1, 'prompts', 'pairs', 'prompts', count(DISTINCT prompt_id) FROM pairs
    UNION ALL
    SELECT 1, 2, 'pairs_of_split', 'pairs', 'split ' || split, count(*) FROM pairs GROUP BY split
    UNION ALL
    SELECT
        1,
        3,
        'pairs_of_two_responses',
        'pairs',
        'of prompts with two responses',
        count(*)
    FROM weighted WHERE n = 2
    UNION ALL
    SELECT
        2,
        min(n),
        'prompts_by_responses',
        'prompts by scored responses',
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
    SELECT 3, 0, 'weight_mean', 'weights of the chosen', 'mean', round(avg(weight), 9) FROM weighted
    UNION ALL
    SELECT 3, 0, 'weight_mean_train', 'weights of the chosen', 'mean, split train', round(avg(weight), 9)
    FROM weighted WHERE split = 'train'
    UNION ALL
    SELECT 3, 1, 'weight_min', 'weights of the chosen', 'minimum', min(weight) FROM weighted
    UNION ALL
    SELECT
        3,
        2,
        'weight_quartile_1',
        'weights of the chosen',
        'quartile 1',
        percentile_cont(0.25) WITHIN GROUP (ORDER BY weight)
    FROM weighted
    UNION ALL
    SELECT
        3,
        3,
        'weight_median',
        'weights of the chosen',
        'median',
        percentile_cont(0.5) WITHIN GROUP (ORDER BY weight)
    FROM weighted
    UNION ALL
    SELECT
        3,
        4,
        'weight_quartile_3',
        'weights of the chosen',
        'quartile 3',
        percentile_cont(0.75) WITHIN GROUP (ORDER BY weight)
    FROM weighted
    UNION ALL
    SELECT 3, 5, 'weight_max', 'weights of the chosen', 'maximum', max(weight) FROM weighted
    UNION ALL
    SELECT
        3,
        6,
        'share_of_zero_weights',
        'weights of the chosen',
        'share of zero weights',
        round(avg(CASE WHEN weight = 0 THEN 1.0 ELSE 0.0 END), 9)
    FROM weighted
    UNION ALL
    SELECT
        4,
        CAST(least(floor(weight * 4), 16) AS BIGINT),
        'weight_bin',
        'histogram of these weights',
        arrow_cast(least(floor(weight * 4), 16) / 4, 'Utf8'),
        count(*)
    FROM weighted
    GROUP BY least(floor(weight * 4), 16)
    UNION ALL
    SELECT 5, 0, 'responses', 'responses', coalesce(excluded, 'candidate'), count(*)
    FROM candidates GROUP BY excluded
    UNION ALL
    SELECT 5, 1, 'reposts', 'prompts', 'posts of a prompt that was posted before', sum(n - 1)
    FROM prompt_posts
    UNION ALL
    SELECT 5, 1, 'near_duplicates', 'prompts', 'near-duplicate pairs, in one split', count(*)
    FROM near_duplicates HAVING count(*) > 0
    UNION ALL
    SELECT 5, 2, 'footers', 'texts', 'stories with a footer cut off', count(footer)
    FROM responses HAVING count(footer) > 0
    UNION ALL
    SELECT 6, 0, 'quarantined', 'quarantined at ingest', reason, count(*)
    FROM quarantine GROUP BY reason
)
SELECT name, section, label, value
FROM rows
WHERE value IS NOT NULL
ORDER BY part, position, label
