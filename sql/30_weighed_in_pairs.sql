-- reads: candidates, matched
-- writes: weighed
-- The responses whose deviation counts: those that stand in pairs.
SELECT candidates.prompt_id, candidates.response_id, candidates.text_hash
FROM candidates
JOIN (
    SELECT prompt_id, chosen_id AS response_id FROM matched
    UNION
    SELECT prompt_id, rejected_id FROM matched
) AS paired
    ON paired.prompt_id = candidates.prompt_id AND paired.response_id = candidates.response_id
ORDER BY prompt_id, response_id
