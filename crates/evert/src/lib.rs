//! The binary: commands, configuration, and the pipeline that joins the stages.
