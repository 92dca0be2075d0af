-- reads: responses, vectors
-- writes: texts
-- The texts of the store that have no vector of this model yet, each once. The join holds the
-- hashes, which are written first, and streams the texts past them.
SET datafusion.optimizer.join_reordering = false;
SELECT missing.text_hash, responses.text
FROM (
    SELECT hashed.text_hash, min(hashed.response_id) AS response_id
    FROM (
        SELECT encode(sha256(text), 'hex') AS text_hash, response_id FROM responses
    ) AS hashed
    WHERE hashed.text_hash NOT IN (
        SELECT text_hash FROM vectors WHERE model = $model AND revision = $revision
    )
    GROUP BY hashed.text_hash
) AS missing
JOIN responses ON responses.response_id = missing.response_id
ORDER BY missing.text_hash
