-- reads: pair_ids, weights, prompts, responses
-- writes: pairs
-- The preference pairs as trainers read them: chats, votes, and the chosen response's deviation and
-- weight. Stories are wide, so they are joined to the narrow ids once and sorted once (the sort spills
-- to disk); the two stories of a pair are then adjacent, and the later joins keep that order.
SET datafusion.optimizer.join_reordering = false;
SET datafusion.execution.target_partitions = 1;
SET datafusion.execution.batch_size = 1024;
WITH sides AS (
    SELECT prompt_id, chosen_id, rejected_id, 1 AS side, chosen_id AS response_id FROM pair_ids
    UNION ALL
    SELECT prompt_id, chosen_id, rejected_id, 2, rejected_id AS response_id FROM pair_ids
),
with_text AS (
    SELECT sides.*, responses.text, responses.score
    FROM sides
    -- By the response's id alone: it may belong to a repost of the prompt.
    JOIN responses ON responses.response_id = sides.response_id
),
paired AS (
    SELECT
        *,
        lead(text) OVER pair AS rejected_text,
        lead(score) OVER pair AS rejected_score
    FROM with_text
    WINDOW pair AS (PARTITION BY prompt_id, chosen_id, rejected_id ORDER BY side)
)
SELECT
    paired.chosen_id || '-' || paired.rejected_id AS pair_id,
    paired.prompt_id,
    make_array(named_struct('role', 'user', 'content', prompts.prompt)) AS prompt,
    make_array(named_struct('role', 'assistant', 'content', paired.text)) AS chosen,
    make_array(named_struct('role', 'assistant', 'content', paired.rejected_text)) AS rejected,
    paired.score AS score_chosen,
    paired.rejected_score AS score_rejected,
    paired.deviation_semantic,
    paired.deviation_style,
    greatest(coalesce(paired.weight, 1.0), $min_weight) / $winner_mean AS weight,
    paired.chosen_id,
    paired.rejected_id,
    prompts.split
FROM prompts
JOIN (
    SELECT paired.*, deviation_semantic, deviation_style, weight
    FROM weights
    RIGHT JOIN paired
        ON paired.chosen_id = weights.response_id AND paired.prompt_id = weights.prompt_id
) AS paired ON paired.prompt_id = prompts.prompt_id
WHERE paired.side = 1
ORDER BY paired.prompt_id, paired.chosen_id, paired.rejected_id
