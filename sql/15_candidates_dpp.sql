-- reads: eligible, vectors_semantic, vectors_style
-- writes: candidates
-- Candidates by --select dpp: of each prompt's responses that passed the filters, the --max-responses that
-- greedy MAP inference of a determinantal point process selects (Chen et al. 2018), with the product of the
-- spaces' cosine kernels. The first is the response with the most votes; ties are ordered by --seed. Both
-- vectors of a response are joined by sort and merge, which spill to disk; the window holds one prompt.
SET datafusion.optimizer.join_reordering = false;
SET datafusion.optimizer.prefer_hash_join = false;
SET datafusion.optimizer.repartition_windows = false;
WITH embedded AS (
    SELECT
        eligible.prompt_id,
        eligible.response_id,
        eligible.score,
        vectors_semantic.vector AS semantic,
        vectors_style.vector AS style
    FROM eligible
    JOIN vectors_semantic ON vectors_semantic.text_hash = eligible.text_hash
    JOIN vectors_style ON vectors_style.text_hash = eligible.text_hash
    WHERE eligible.excluded IS NULL
),
ranked AS (
    SELECT
        prompt_id,
        response_id,
        dpp_rank(semantic, style, $max_responses) OVER (
            PARTITION BY prompt_id ORDER BY score DESC, md5($seed || ' ' || response_id)
        ) AS rank
    FROM embedded
)
SELECT
    eligible.prompt_id,
    eligible.response_id,
    eligible.score,
    eligible.created_at,
    eligible.words,
    eligible.split,
    eligible.text_hash,
    CASE
        WHEN eligible.excluded IS NULL AND ranked.rank IS NULL THEN 'beyond_max_responses'
        ELSE eligible.excluded
    END AS excluded
FROM eligible
LEFT JOIN ranked
    ON ranked.prompt_id = eligible.prompt_id AND ranked.response_id = eligible.response_id
ORDER BY prompt_id, response_id
