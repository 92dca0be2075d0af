-- reads: candidates, pair_ids
-- writes: card
-- The counts of the strategy `marginal` for the data set card, in the columns of 70_card.sql.
WITH scores AS (
    SELECT chosen.score AS chosen_score, rejected.score AS rejected_score
    FROM pair_ids
    JOIN candidates AS chosen
        ON chosen.prompt_id = pair_ids.prompt_id AND chosen.response_id = pair_ids.chosen_id
    JOIN candidates AS rejected
        ON rejected.prompt_id = pair_ids.prompt_id AND rejected.response_id = pair_ids.rejected_id
),
prompts_without AS (
    SELECT prompt_id FROM candidates WHERE excluded IS NULL
    EXCEPT
    SELECT prompt_id FROM pair_ids
),
rows AS (
    SELECT
        0 AS position,
        'marginal_fewer_votes' AS name,
        'pairs whose chosen response has fewer votes' AS label,
        CAST(count(*) FILTER (WHERE chosen_score < rejected_score) AS DOUBLE) AS value
    FROM scores
    UNION ALL
    SELECT
        1,
        'marginal_equal_votes',
        'pairs of equal votes',
        count(*) FILTER (WHERE chosen_score = rejected_score)
    FROM scores
    UNION ALL
    SELECT
        2,
        'marginal_prompts_without',
        'prompts without pairs',
        count(*)
    FROM prompts_without
)
SELECT name, 'marginal diversity' AS section, label, value
FROM rows
ORDER BY position
