"""The paper's Table 2: from files to ids with ResNet-18 and least confidence, by us, a bare loop and three peers."""
