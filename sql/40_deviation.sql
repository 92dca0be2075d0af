-- reads: scored_responses, vectors
-- writes: deviations
-- Deviation: the mean distance of a response to the other responses of its prompt, in one embedding
-- space. The rows are sorted by prompt (the sort spills to disk) and stream through the window
-- function, one prompt at a time. The hash join builds its table from the narrow side, which is
-- written first, and streams the vectors. The function uses all cores itself: repartitioning the
-- window would only copy the vectors.
SET datafusion.optimizer.join_reordering = false;
SET datafusion.optimizer.repartition_windows = false;
SELECT
    $space AS space,
    scored_responses.prompt_id,
    scored_responses.response_id,
    deviation(vectors.vector) OVER (
        PARTITION BY scored_responses.prompt_id ORDER BY scored_responses.response_id
    ) AS deviation
FROM scored_responses
JOIN vectors ON vectors.text_hash = scored_responses.text_hash
WHERE vectors.model = $model AND vectors.revision = $revision
ORDER BY prompt_id, response_id
