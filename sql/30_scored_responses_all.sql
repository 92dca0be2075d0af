-- reads: candidates
-- writes: scored_responses
-- The responses whose deviation is computed: all candidates (DivPO selects by deviation).
SELECT prompt_id, response_id, text_hash
FROM candidates
WHERE excluded IS NULL
ORDER BY prompt_id, response_id
