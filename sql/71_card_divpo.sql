-- reads: pools, pair_ids
-- writes: card
-- The counts of DivPO for the data set card, in the columns of 70_card.sql: responses in the pools, the
-- responses that became part of a pair, and the pairs that were dropped because the votes do not order
-- them.
WITH sizes AS (
    SELECT prompt_id, least(count(*) FILTER (WHERE pool = 'best'), $max_pairs) AS pairs
    FROM pools
    GROUP BY prompt_id
),
rows AS (
    SELECT
        0 AS position,
        'divpo_pooled' AS name,
        'responses in pools' AS label,
        CAST(count(*) AS DOUBLE) AS value
    FROM pools
    UNION ALL
    SELECT 1, 'divpo_paired', 'responses in pairs', 2 * count(*) FROM pair_ids
    UNION ALL
    SELECT
        2,
        'divpo_unordered',
        'pairs dropped: the votes do not order them',
        coalesce(sum(pairs), 0) - (SELECT count(*) FROM pair_ids)
    FROM sizes
)
SELECT name, 'DivPO' AS section, label, value
FROM rows
ORDER BY position
