-- reads: scored_responses, responses, vectors
-- writes: texts
-- The distinct texts that have no vector of this model yet. The hash join builds its table from the
-- hashes, which are written first, and streams the texts.
SET datafusion.optimizer.join_reordering = false;
SELECT missing.text_hash, responses.text
FROM (
    SELECT scored_responses.text_hash, min(scored_responses.response_id) AS response_id
    FROM scored_responses
    WHERE scored_responses.text_hash NOT IN (
        SELECT text_hash FROM vectors WHERE model = $model AND revision = $revision
    )
    GROUP BY scored_responses.text_hash
) AS missing
JOIN responses ON responses.response_id = missing.response_id
ORDER BY missing.text_hash
