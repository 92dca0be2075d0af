-- reads: scored_responses, vectors_semantic, vectors_style
-- writes: marginal_diversities
-- Marginal diversity (ReDiPO): the distance of a response to the most similar other response of its prompt,
-- in each space, and `diversity`: the distances min-max scaled within the prompt (1/2 where all are equal),
-- their geometric mean over the spaces. With one space it orders and ranks as the distance itself. Both
-- vectors of a response are joined by sort and merge, which spill to disk; the window holds one prompt.
SET datafusion.optimizer.join_reordering = false;
SET datafusion.optimizer.prefer_hash_join = false;
SET datafusion.optimizer.repartition_windows = false;
WITH embedded AS (
    SELECT
        scored_responses.prompt_id,
        scored_responses.response_id,
        vectors_semantic.vector AS semantic,
        vectors_style.vector AS style
    FROM scored_responses
    JOIN vectors_semantic ON vectors_semantic.text_hash = scored_responses.text_hash
    JOIN vectors_style ON vectors_style.text_hash = scored_responses.text_hash
),
distances AS (
    SELECT
        prompt_id,
        response_id,
        nearest_distance(semantic) OVER prompt AS semantic,
        nearest_distance(style) OVER prompt AS style
    FROM embedded
    WINDOW prompt AS (PARTITION BY prompt_id ORDER BY response_id)
)
SELECT
    prompt_id,
    response_id,
    semantic,
    style,
    coalesce(
        sqrt(minmax(semantic) OVER prompt * minmax(style) OVER prompt),
        minmax(semantic) OVER prompt,
        minmax(style) OVER prompt
    ) AS diversity
FROM distances
WINDOW prompt AS (PARTITION BY prompt_id ORDER BY response_id)
ORDER BY prompt_id, response_id
