-- reads: candidates, pair_ids
-- writes: scored_responses
-- The responses whose deviation is computed: those in pairs.
SELECT candidates.prompt_id, candidates.response_id, candidates.text_hash
FROM candidates
JOIN (
    SELECT prompt_id, chosen_id AS response_id FROM pair_ids
    UNION
    SELECT prompt_id, rejected_id FROM pair_ids
) AS paired
    ON paired.prompt_id = candidates.prompt_id AND paired.response_id = candidates.response_id
ORDER BY prompt_id, response_id
