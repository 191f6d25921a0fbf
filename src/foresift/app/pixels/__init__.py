"""The same line where labels are masks: models, scores, patches as samples, out to the labeling tool and back."""
