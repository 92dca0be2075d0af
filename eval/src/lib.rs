//! The evaluation plug-in: measures, statistics, the report. Nothing is here yet.
