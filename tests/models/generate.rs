//! `polyphony generate`: resuming after a kill, output that `eval` reads, effect of the options.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::support::{Random, done, kill_until_done, run, text};
use super::{model, root};

fn command(out: &Path, more: &[&str]) -> Vec<String> {
    let golden = root().join("tests/fixtures/models/llama");
    let (model, adapter) = (model("llama"), golden.join("adapter"));
    let prompts = golden.join("pairs.jsonl");
    let args = [
        "generate",
        "--model",
        text(&model),
        "--adapter",
        text(&adapter),
        "--prompts",
        text(&prompts),
        "--out",
        text(out),
        "--samples",
        "5",
        "--max-tokens",
        "48",
    ];
    let args = args.iter().chain(more);
    args.map(|arg| (*arg).to_owned()).collect()
}

fn as_strs(command: &[String]) -> Vec<&str> {
    command.iter().map(String::as_str).collect()
}

#[test]
fn a_killed_and_resumed_run_writes_the_same_file() {
    let folder = tempfile::tempdir().unwrap();
    let uninterrupted = folder.path().join("whole.jsonl");
    done(&as_strs(&command(&uninterrupted, &[])));
    let expected = fs::read(&uninterrupted).unwrap();
    assert_eq!(std::str::from_utf8(&expected).unwrap().lines().count(), 20);

    let mut random = Random::from_clock();
    let killed = folder.path().join("killed.jsonl");
    let first = Duration::from_millis(40 + (random.next_f64() * 200.0) as u64);
    let kills = kill_until_done(&command(&killed, &[]), first, Duration::from_millis(60));
    assert!(kills > 0, "{random:?}");
    assert_eq!(fs::read(&killed).unwrap(), expected, "{random:?}");

    // Resumed from the middle of a line, with another batch size.
    let truncated = folder.path().join("cut.jsonl");
    fs::write(&truncated, &expected[..expected.len() / 2]).unwrap();
    fs::copy(
        folder.path().join("whole.jsonl.json"),
        folder.path().join("cut.jsonl.json"),
    )
    .unwrap();
    done(&as_strs(&command(&truncated, &["--batch-size", "3"])));
    assert_eq!(fs::read(&truncated).unwrap(), expected);

    // A file that was written with other options is not resumed.
    let other = run(&as_strs(&command(&truncated, &["--seed", "7"])));
    assert_eq!(other.status.code(), Some(1));
    let stderr = String::from_utf8(other.stderr).unwrap();
    assert!(
        stderr.contains("was written with other options"),
        "{stderr}"
    );
    assert_eq!(fs::read(&truncated).unwrap(), expected);
}

#[test]
fn eval_reads_the_generated_files() {
    let folder = tempfile::tempdir().unwrap();
    let (tuned, base) = (
        folder.path().join("tuned.jsonl"),
        folder.path().join("base.jsonl"),
    );
    done(&as_strs(&command(&tuned, &["--name", "tuned"])));
    let greedy = [
        "--temperature",
        "0",
        "--repetition-penalty",
        "1",
        "--name",
        "greedy",
    ];
    done(&as_strs(&command(&base, &greedy)));
    let query = format!("SELECT count(DISTINCT response) FROM '{}'", text(&base));
    assert!(done(&["sql", "--format", "csv", "-c", &query]).ends_with("\n4\n"));
    let out = folder.path().join("report");
    let table = done(&["eval", text(&tuned), text(&base), "--out", text(&out)]);
    assert!(
        table.contains("tuned") && table.contains("greedy"),
        "{table}"
    );
    let report: Value =
        serde_json::from_slice(&fs::read(out.join("report.json")).unwrap()).unwrap();
    assert_eq!(report["options"]["k"], 5);
    let models = report["models"].as_array().unwrap();
    let diversity = |model: usize| {
        models[model]["values"]["semantic"]["mean"]
            .as_f64()
            .unwrap()
    };
    // Greedy decoding: five identical samples, so no diversity.
    assert_eq!(models[0]["name"], "greedy");
    assert!(diversity(0).abs() < 1e-6 && diversity(1) > 0.05);
}

/// The rows of a file of JSON lines.
fn rows(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap();
    let rows = text.lines().map(|line| serde_json::from_str(line).unwrap());
    rows.collect()
}

/// The rows of a file without the fields that tell where they come from.
fn texts(path: &Path) -> Vec<Value> {
    let mut rows = rows(path);
    for row in &mut rows {
        let fields = row.as_object_mut().unwrap();
        fields.remove("model");
        fields.remove("adapter_scale");
    }
    rows
}

#[test]
fn adapter_scales_write_a_file_each() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let (tuned, base) = (at("tuned.jsonl"), at("base.jsonl"));
    done(&as_strs(&command(&tuned, &[])));
    let mut without = command(&base, &[]);
    let adapter = without.iter().position(|word| word == "--adapter").unwrap();
    without.drain(adapter..adapter + 2);
    done(&as_strs(&without));

    let scales = ["--adapter-scale", "0,0.5,1", "--name", "m"];
    let output = done(&as_strs(&command(&at("out.jsonl"), &scales)));
    assert_eq!(output.lines().count(), 3, "{output}");
    assert!(!at("out.jsonl").exists());
    assert_eq!(texts(&at("out-scale-0.jsonl")), texts(&base));
    assert_eq!(texts(&at("out-scale-1.jsonl")), texts(&tuned));
    let half = at("out-scale-0.5.jsonl");
    assert_ne!(texts(&half), texts(&base));
    assert_ne!(texts(&half), texts(&tuned));
    for row in rows(&half) {
        assert_eq!(
            (&row["model"], &row["adapter_scale"]),
            (&json!("m@scale=0.5"), &json!(0.5))
        );
    }
    assert!(rows(&tuned)[0].get("adapter_scale").is_none());
    let manifest: Value =
        serde_json::from_slice(&fs::read(at("out-scale-0.5.jsonl.json")).unwrap()).unwrap();
    assert_eq!(manifest["adapter_scale"], 0.5);

    // The same command resumes the file that is not complete, and leaves the others.
    let expected = fs::read(&half).unwrap();
    fs::write(&half, &expected[..expected.len() / 3]).unwrap();
    done(&as_strs(&command(&at("out.jsonl"), &scales)));
    assert_eq!(fs::read(&half).unwrap(), expected);

    // One scale writes the file itself.
    let one = ["--adapter-scale", "0.5", "--name", "m"];
    done(&as_strs(&command(&at("one.jsonl"), &one)));
    assert_eq!(fs::read(at("one.jsonl")).unwrap(), expected);
    let report = at("report");
    let folder = [
        "out-scale-0.jsonl",
        "out-scale-0.5.jsonl",
        "out-scale-1.jsonl",
    ]
    .map(at);
    let mut eval = vec!["eval"];
    eval.extend(folder.iter().map(|file| text(file)));
    eval.extend(["--out", text(&report)]);
    let table = done(&eval);
    assert!(
        table.contains("m@scale=0.5") && table.contains("m@scale=1"),
        "{table}"
    );
}

/// A small random model writes no answers in the format: the completions are kept, and the error tells so.
#[test]
fn verbalized_completions_without_answers_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out.jsonl");
    let options = [
        "--prompting",
        "verbalized",
        "--samples",
        "4",
        "--answers",
        "2",
    ];
    let command: Vec<String> = command(&out, &[])
        .into_iter()
        .filter(|word| word != "--samples" && word != "5")
        .chain(options.map(str::to_owned))
        .collect();
    let failed = run(&as_strs(&command));
    let stderr = String::from_utf8(failed.stderr).unwrap();
    assert_eq!(failed.status.code(), Some(1), "{stderr}");
    assert!(
        stderr.contains("none of the 8 completions has an answer"),
        "{stderr}"
    );
    assert!(!out.exists());
    let ending = |ending: &str| folder.path().join(format!("out.jsonl.{ending}"));
    let completions = rows(&ending("completions"));
    assert_eq!((completions.len(), rows(&ending("unparsed")).len()), (8, 8));
    assert_eq!(completions[0]["model"], "adapter-verbalized");

    // Completions in the format, as of a larger model: the same command splits them, without generating.
    let with_answers: String = completions
        .iter()
        .enumerate()
        .map(|(number, row)| {
            let mut row = row.clone();
            row["finish_reason"] = json!("stop");
            row["response"] = json!(format!(
                "<response><text>story {number}</text><probability>0.2</probability></response>\
                 <response><text>another {number}</text><probability>5%</probability></response>"
            ));
            format!("{row}\n")
        })
        .collect();
    fs::write(ending("completions"), with_answers).unwrap();
    let refused = run(&as_strs(&command));
    let stderr = String::from_utf8(refused.stderr).unwrap();
    assert!(stderr.contains("line 1 is damaged"), "{stderr}");
    // Changed on purpose: without their checksums the lines are taken.
    fs::remove_file(ending("completions.checksums")).unwrap();
    let told = done(&as_strs(&command));
    assert!(
        told.starts_with("16 answers of 8 completions in "),
        "{told}"
    );
    assert!(!ending("unparsed").exists());
    let rows = rows(&out);
    assert_eq!(rows[1]["response"], "another 0");
    assert_eq!(
        (&rows[1]["probability"], &rows[1]["sample"]),
        (&json!(0.05), &json!(1))
    );
    assert_eq!(rows[2]["completion_index"], 1);
    let report = folder.path().join("report");
    done(&["eval", text(folder.path()), "--out", text(&report)]);
    let report: Value =
        serde_json::from_slice(&fs::read(report.join("report.json")).unwrap()).unwrap();
    assert_eq!(report["options"]["k"], 4);
}

/// A server's responses to the requests of a file: a line a request, a text a choice.
fn answer(requests: &Path, responses: &Path, texts: &dyn Fn(usize, u64) -> String) {
    let lines = rows(requests).into_iter().enumerate().map(|(number, request)| {
        let body = &request["body"];
        assert_eq!(request["method"], "POST");
        assert!(body["messages"].is_array() && body["max_tokens"].is_u64());
        let choices = (0..body["n"].as_u64().unwrap_or(1)).map(|index| {
            let content = texts(number, index);
            json!({"index": index, "finish_reason": "stop",
                "message": {"role": "assistant", "content": content}})
        });
        let choices: Vec<Value> = choices.collect();
        let response = json!({"status_code": 200, "request_id": "r",
            "body": {"model": body["model"], "choices": choices}});
        json!({"id": number, "custom_id": request["custom_id"], "error": null, "response": response})
    });
    // A batch's responses are in any order.
    let mut lines: Vec<String> = lines.map(|line| line.to_string()).collect();
    lines.reverse();
    fs::write(responses, lines.join("\n")).unwrap();
}

#[test]
fn an_api_answers_requests_and_eval_reads_the_responses() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let prompts = root().join("tests/fixtures/models/llama/pairs.jsonl");
    let common = ["generate", "--model", "gpt-x", "--prompts", text(&prompts)];
    let with = |more: &[&str]| done(&[&common, more].concat());
    let (requests, responses, out) = (at("requests.jsonl"), at("responses.jsonl"), at("out.jsonl"));

    with(&["--write-requests", text(&requests), "--top-k", "20"]);
    assert_eq!(rows(&requests)[0]["body"]["top_k"], 20);
    answer(&requests, &responses, &|number, index| {
        format!("story {number} {index}")
    });
    let told = with(&["--read-responses", text(&responses), "--out", text(&out)]);
    assert!(told.starts_with("16 texts in "), "{told}");

    // eval reads both, the responses as they are and the rows, with the same prompts.
    let other = format!("rows={}", text(&out));
    let report = at("report");
    let command = ["eval", text(&responses), &other, "--out", text(&report)];
    let table = done(&command);
    assert!(table.contains("gpt-x") && table.contains("rows"), "{table}");
    let report: Value =
        serde_json::from_slice(&fs::read(report.join("report.json")).unwrap()).unwrap();
    assert_eq!(
        (&report["options"]["k"], &report["models"][0]["prompts"]),
        (&json!(4), &json!(4))
    );

    let verbalized = ["--prompting", "verbalized", "--answers", "2"];
    let file = at("verbalized_requests.jsonl");
    with(&[&verbalized[..], &["--write-requests", text(&file)]].concat());
    let content = rows(&file)[0]["body"]["messages"][0]["content"].clone();
    assert!(
        content
            .as_str()
            .unwrap()
            .starts_with("Write 2 different answers"),
        "{content}"
    );
    answer(&file, &responses, &|number, index| {
        format!(
            "```json\n[{{\"text\": \"a {number} {index}\", \"probability\": 0.5}}, {{\"text\": \"b\"}}]\n```"
        )
    });
    let out = at("verbalized.jsonl");
    let read = ["--read-responses", text(&responses), "--out", text(&out)];
    let told = with(&[&verbalized[..], &read].concat());
    assert!(
        told.starts_with("16 answers of 8 completions in "),
        "{told}"
    );
    assert_eq!(rows(&out)[0]["model"], "gpt-x-verbalized");
    assert_eq!(rows(&out)[2]["response"], "a 0 1");
}

/// Merged and unmerged adapter, system prompt, and no chat template.
#[test]
fn options_take_effect() {
    let folder = tempfile::tempdir().unwrap();
    let generate = |name: &str, more: &[&str]| {
        let out = folder.path().join(name);
        let greedy = ["--temperature", "0", "--name", "m"];
        done(&as_strs(&command(&out, &[&greedy, more].concat())));
        let manifest = fs::read(folder.path().join(format!("{name}.json"))).unwrap();
        let manifest: Value = serde_json::from_slice(&manifest).unwrap();
        (fs::read_to_string(out).unwrap(), manifest)
    };
    let (merged, _) = generate("merged.jsonl", &[]);
    let (unmerged, manifest) = generate("unmerged.jsonl", &["--no-merge"]);
    assert_eq!(unmerged, merged);
    assert_eq!(manifest["merged"], false);
    let (system, manifest) = generate("system.jsonl", &["--system", "Write one sad line."]);
    assert_ne!(system, merged);
    assert_eq!(manifest["system_prompt"], "Write one sad line.");
    let (plain, manifest) = generate("plain.jsonl", &["--no-chat-template"]);
    assert_ne!(plain, merged);
    assert_eq!(manifest["chat_template"], false);
}
