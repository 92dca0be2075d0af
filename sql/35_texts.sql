-- reads: weighed, responses, vectors
-- writes: texts
-- The texts that have no vector of this model yet, each once. The join holds the hashes, which
-- are written first, and streams the texts past them.
SET datafusion.optimizer.join_reordering = false;
SELECT missing.text_hash, responses.text
FROM (
    SELECT weighed.text_hash, min(weighed.response_id) AS response_id
    FROM weighed
    WHERE weighed.text_hash NOT IN (
        SELECT text_hash FROM vectors WHERE model = $model AND revision = $revision
    )
    GROUP BY weighed.text_hash
) AS missing
JOIN responses ON responses.response_id = missing.response_id
ORDER BY missing.text_hash
