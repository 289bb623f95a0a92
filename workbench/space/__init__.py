"""Instructions as points: embed, cluster, name the clusters, project to a map."""
