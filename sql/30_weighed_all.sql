-- reads: candidates
-- writes: weighed
-- The responses whose deviation counts: all that may stand in pairs (DivPO chooses by deviation).
SELECT prompt_id, response_id, text_hash
FROM candidates
WHERE excluded IS NULL
ORDER BY prompt_id, response_id
