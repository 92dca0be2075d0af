-- reads: weighed, vectors
-- writes: deviations
-- How far each response stands from the others to its prompt, in one space. The rows are sorted by
-- prompt (a sort that spills) and stream through the window function: one prompt at a time. The
-- join holds the narrow side, which is written first, and streams the vectors past it. The function
-- uses all cores by itself: dealing the rows out to several windows would only copy the vectors.
SET datafusion.optimizer.join_reordering = false;
SET datafusion.optimizer.repartition_windows = false;
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
