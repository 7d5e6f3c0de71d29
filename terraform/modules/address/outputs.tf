output "certificate_arn" {
  description = "The certificate, once it is valid."
  value       = local.makes_certificate ? aws_acm_certificate_validation.this[0].certificate_arn : var.certificate_arn
}
