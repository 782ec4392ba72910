"""The part of S3 that SageMaker's clients use, kept as files: a bucket is a directory, an object a file in it."""
