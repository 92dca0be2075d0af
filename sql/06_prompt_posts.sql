-- reads: prompts
-- writes: prompt_posts
-- Prompt posts view: one row per prompt, with the ids of all its posts. Reposts have the same prompt_key;
-- `prompt_id` is the least id of the posts, as in `candidates` and `pairs`.
SELECT
    min(prompt_id) AS prompt_id,
    prompt_key,
    min(split) AS split,
    count(*) AS n,
    array_agg(prompt_id ORDER BY prompt_id) AS posts
FROM prompts
GROUP BY prompt_key
