"""The paper's survey from one file: Table 7, the timeline of Figure 1, and the schemes of Figures 2 and 8."""
