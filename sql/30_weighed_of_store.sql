-- reads: responses
-- writes: weighed
-- Every response of the store, for when all texts get vectors, whether they stand in pairs or not.
SELECT prompt_id, response_id, encode(sha256(text), 'hex') AS text_hash
FROM responses
