-- reads: pools, vectors
-- writes: pool_deviations
-- Deviation within the pools of DivPO: the mean distance of a response to the other responses of its pool,
-- in one embedding space. See 40_deviation.sql for the order of the joins.
SET datafusion.optimizer.join_reordering = false;
SET datafusion.optimizer.repartition_windows = false;
SELECT
    $space AS space,
    pools.prompt_id,
    pools.pool,
    pools.response_id,
    deviation(vectors.vector) OVER (
        PARTITION BY pools.prompt_id, pools.pool ORDER BY pools.response_id
    ) AS deviation
FROM pools
JOIN vectors ON vectors.text_hash = pools.text_hash
WHERE vectors.model = $model AND vectors.revision = $revision
ORDER BY prompt_id, pool, response_id
