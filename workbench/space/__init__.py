"""Instructions as points: embed them, cluster them, name the clusters and project them to a map."""
