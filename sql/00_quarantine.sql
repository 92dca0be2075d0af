-- reads: refused, pending, sources
-- writes: quarantine
-- Everything that did not become a prompt or a response, with the reason. A comment whose
-- submission is not a prompt waits in `pending`; why it waits depends on what is known of the
-- submission, so the reason is found here and not stored.
SELECT source, line, reason, id, retrieved_at, text
FROM refused
UNION ALL
SELECT
    pending.source,
    pending.line,
    CASE
        WHEN submission.reason IS NULL THEN 'orphan'
        WHEN submission.reason IN ('off_topic_submission', 'untagged_submission')
            THEN 'comment_on_off_topic'
        ELSE 'comment_on_removed'
    END AS reason,
    pending.response_id AS id,
    pending.retrieved_at,
    substr(pending.text, 1, 200) AS text
FROM pending
LEFT JOIN (
    SELECT refused.id, min(refused.reason) AS reason
    FROM refused
    JOIN sources ON refused.source = sources.name
    WHERE sources.kind = 'submissions' AND refused.id IS NOT NULL
    GROUP BY refused.id
) AS submission ON submission.id = pending.prompt_id
