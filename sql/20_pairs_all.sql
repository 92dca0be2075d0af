-- reads: candidates
-- writes: pair_ids
-- All pairs whose votes differ, at most --max-pairs per prompt: sampled by --seed or, with --best-winners,
-- those whose chosen response has the most votes.
SELECT prompt_id, chosen_id, rejected_id
FROM (
    SELECT
        chosen.prompt_id,
        chosen.response_id AS chosen_id,
        rejected.response_id AS rejected_id,
        row_number() OVER (
            PARTITION BY chosen.prompt_id
            ORDER BY
                CASE WHEN $best_winners THEN -chosen.score ELSE 0 END,
                md5($seed || ' ' || chosen.response_id || ' ' || rejected.response_id)
        ) AS rank
    FROM candidates AS chosen
    JOIN candidates AS rejected
        ON rejected.prompt_id = chosen.prompt_id AND rejected.score < chosen.score
    WHERE chosen.excluded IS NULL AND rejected.excluded IS NULL
) AS pairs
WHERE rank <= $max_pairs
ORDER BY prompt_id, chosen_id, rejected_id
