# A random value in Secrets Manager that neither the plan nor the state ever holds.

ephemeral "aws_secretsmanager_random_password" "this" {
  password_length     = 64
  exclude_punctuation = true # it is put into URLs
}

resource "aws_secretsmanager_secret" "this" {
  #checkov:skip=CKV2_AWS_57:Rotated by secrets_version: the running tasks must be replaced with it, which no rotation function does.
  name                    = var.name
  description             = var.description
  kms_key_id              = var.kms_key_arn
  recovery_window_in_days = var.keep_deleted ? 30 : 0
}

# A new random value is drawn in each run and thrown away, unless version_no has changed.
resource "aws_secretsmanager_secret_version" "this" {
  secret_id                = aws_secretsmanager_secret.this.id
  secret_string_wo         = ephemeral.aws_secretsmanager_random_password.this.random_password
  secret_string_wo_version = var.version_no
}
