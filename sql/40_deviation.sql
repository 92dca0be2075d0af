-- reads: weighed, vectors
-- writes: deviations
-- How far each response stands from the others to its prompt, in one space. The rows are sorted by
-- prompt (a sort that spills) and stream through the window function: one prompt at a time. The
-- join holds the narrow side, which is written first, and streams the vectors past it.
SET datafusion.optimizer.join_reordering = false;
SELECT
    $space AS space,
    weighed.prompt_id,
    weighed.response_id,
    deviation(vectors.vector) OVER (
        PARTITION BY weighed.prompt_id ORDER BY weighed.response_id
    ) AS deviation
FROM weighed
JOIN vectors ON vectors.text_hash = weighed.text_hash
WHERE vectors.model = $model AND vectors.revision = $revision
ORDER BY prompt_id, response_id
