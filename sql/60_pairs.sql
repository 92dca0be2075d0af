-- reads: matched, candidates, weights, prompts, responses
-- writes: pairs
-- The pairs as trainers read them: chats, votes, and the chosen response's deviation and weight.
-- Stories are wide: joins sort and spill here instead of holding one side in memory.
SET datafusion.optimizer.prefer_hash_join = false;
SELECT
    matched.chosen_id || '-' || matched.rejected_id AS pair_id,
    matched.prompt_id,
    make_array(named_struct('role', 'user', 'content', prompts.prompt)) AS prompt,
    make_array(named_struct('role', 'assistant', 'content', chosen.text)) AS chosen,
    make_array(named_struct('role', 'assistant', 'content', rejected.text)) AS rejected,
    chosen.score AS score_chosen,
    rejected.score AS score_rejected,
    weights.deviation_semantic,
    weights.deviation_style,
    greatest(coalesce(weights.weight, 1.0), $min_weight) AS weight,
    matched.chosen_id,
    matched.rejected_id,
    prompts.split
FROM matched
JOIN prompts ON prompts.prompt_id = matched.prompt_id
JOIN responses AS chosen
    ON chosen.response_id = matched.chosen_id AND chosen.prompt_id = matched.prompt_id
JOIN responses AS rejected
    ON rejected.response_id = matched.rejected_id AND rejected.prompt_id = matched.prompt_id
LEFT JOIN weights
    ON weights.response_id = matched.chosen_id AND weights.prompt_id = matched.prompt_id
ORDER BY matched.prompt_id, matched.chosen_id, matched.rejected_id
