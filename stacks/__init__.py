"""The stacks of a deployment to AWS, one in each module, and the differences of environments."""
