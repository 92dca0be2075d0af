-- reads: eligible
-- writes: scored_responses
-- The responses that passed the filters, before --select dpp takes some of them: it needs their vectors.
SELECT prompt_id, response_id, text_hash
FROM eligible
WHERE excluded IS NULL
