-- reads: candidates, marginal_diversities
-- writes: pair_ids
-- Pairs by marginal diversity (ReDiPO, Samuel et al. 2026): of two responses whose votes differ by at most
-- --epsilon, the more diverse one is chosen (of equally diverse ones, the one with more votes). The pairs
-- with the largest difference of diversity come first, each response in at most --n-cap of them; the
-- fraction --top-quantile of a prompt's pairs remains, at most --max-pairs.
SELECT prompt_id, pair['chosen'] AS chosen_id, pair['rejected'] AS rejected_id
FROM (
    SELECT
        candidates.prompt_id,
        unnest(pairs_by_diversity(
            candidates.response_id,
            CAST(candidates.score AS DOUBLE),
            marginal_diversities.diversity,
            $epsilon,
            $n_cap,
            $top_quantile
        )) AS pair
    FROM candidates
    JOIN marginal_diversities
        ON marginal_diversities.prompt_id = candidates.prompt_id
        AND marginal_diversities.response_id = candidates.response_id
    WHERE candidates.excluded IS NULL
    GROUP BY candidates.prompt_id
) AS selected
WHERE $max_pairs = 0 OR pair['rank'] <= $max_pairs
-- One sort key: DataFusion still takes prompt_id, the key of the aggregate, for a key of the unnested rows
-- and would drop the other two.
ORDER BY make_array(prompt_id, chosen_id, rejected_id)
