-- reads: candidates
-- writes: scored_responses
-- The responses whose deviation is computed: those in pairs by vote gap (20_pairs_gap.sql), from which
-- DivPO selects its own pairs, so that both methods learn from the same responses.
WITH sampled AS (
    SELECT prompt_id, unnest(pairs_by_gap(response_id, score, $gap, $seed)) AS pair
    FROM candidates
    WHERE excluded IS NULL
    GROUP BY prompt_id
),
paired AS (
    SELECT prompt_id, pair['chosen'] AS response_id FROM sampled
    UNION ALL
    SELECT prompt_id, pair['rejected'] FROM sampled
)
SELECT candidates.prompt_id, candidates.response_id, candidates.text_hash
FROM candidates
JOIN paired
    ON paired.prompt_id = candidates.prompt_id AND paired.response_id = candidates.response_id
ORDER BY prompt_id, response_id
