-- reads: responses
-- writes: scored_responses
-- All responses of the store: for `polyphony embed`, which embeds all texts.
SELECT prompt_id, response_id, encode(sha256(text), 'hex') AS text_hash
FROM responses
