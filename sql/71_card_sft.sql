-- reads: sft
-- writes: card
-- The counts of the SFT examples (--sft) for the data set card, in the columns of 70_card.sql.
WITH rows AS (
    SELECT 0 AS position, 'sft_rows' AS name, 'all' AS label, CAST(count(*) AS DOUBLE) AS value
    FROM sft
    UNION ALL
    SELECT 1, 'sft_prompts', 'prompts', count(DISTINCT prompt_id) FROM sft
    UNION ALL
    SELECT 2, 'sft_rows_of_split', 'split ' || split, count(*) FROM sft GROUP BY split
)
SELECT name, 'SFT examples' AS section, label, value
FROM rows
ORDER BY position, label
